"""The walk through a message's parts: which are its text, which its files.

Public: `Collector`, `Collected`, `Attachment`. `parts.decompose` uses it. The
rules follow what mail programs show: the best of an alternative, the root of a
`related`, everything of a `mixed` in order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from mimetypes import MimeTypes
from typing import Final
from urllib.parse import unquote

from attrs import frozen

from kumotwist.proto.mime.charset import decode_text
from kumotwist.proto.mime.headers import decode, first_value
from kumotwist.proto.mime.losses import Loss, LossKind
from kumotwist.proto.mime.transfer import decode_body, join_lines, unflow
from kumotwist.proto.mime.tree import Node

#: Characters of a file name. Ours: what common file systems take.
MAX_FILE_NAME: Final = 255

_BODY_KINDS: Final = frozenset(("text/plain", "text/html"))
_CALENDARS: Final = frozenset(("text/calendar", "application/ics", "text/x-vcalendar"))
#: A multipart in which another one may stand without anything being lost when the whole is built anew.
_CANONICAL: Final = frozenset(
    (
        ("multipart/mixed", "multipart/related"),
        ("multipart/mixed", "multipart/alternative"),
        ("multipart/related", "multipart/alternative"),
        ("multipart/alternative", "multipart/related"),
    )
)
#: Given no files, it reads none.
_TYPES: Final = MimeTypes(filenames=())
_TYPES.add_type("text/calendar", ".ics")
_CID: Final = re.compile(r"""cid:([^"'\s>)]+)""", re.IGNORECASE)
_PATH: Final = re.compile(r".*[/\\]", re.DOTALL)
_NOT_IN_NAMES: Final = re.compile(r'[\x00-\x20\x7f-\x9f/\\:*?"<>|]+')
_KEPT_PARAMETERS: Final = ("charset", "method")


@frozen
class Attachment:
    """A file. `content_type` is `type/subtype` with the parameters charset and method, where it has them.

    `file_name` is never empty and holds no path. `content_id` is without brackets, "" when there is none.
    """

    file_name: str
    content_type: str
    data: bytes
    content_id: str = ""


@frozen
class Collected:
    """Texts with bare newlines, files, and what was lost."""

    text: str
    html: str
    attachments: tuple[Attachment, ...]
    inline: tuple[Attachment, ...]
    losses: tuple[Loss, ...]


@frozen
class _File:
    node: Node
    attachment: Attachment
    is_related: bool


@frozen
class _Html:
    """A piece of the HTML text; not `is_html` when it repeats a plain text that has no HTML beside it."""

    html: str
    is_html: bool = True


class Collector:
    """Walks one message once. Without `with_files` they are named but empty: who reads only the text is spared them."""

    def __init__(self, *, with_files: bool = True) -> None:
        self._with_files = with_files
        self._texts: list[str] = []
        self._htmls: list[_Html] = []
        self._files: list[_File] = []
        self._alternatives = 0
        self._losses: list[Loss] = []

    def collect(self, root: Node) -> Collected:
        """What `root` holds. Every part is in the result, or a loss names it."""
        self._walk(root, None)
        html = _joined([one.html for one in self._htmls]) if any(one.is_html for one in self._htmls) else ""
        attachments, inline = self._sorted_files(html)
        return Collected(_joined(self._texts), html, attachments, inline, tuple(self._losses))

    def _lose(self, kind: LossKind, node: Node) -> None:
        self._losses.append(Loss(kind, f"{node.number} {node.kind}".strip()))

    # -- which part is what -----------------------------------------------------------------------

    def _walk(self, node: Node, parent: Node | None) -> None:
        if node.is_damaged:
            self._lose(LossKind.DAMAGED, node)
        if not node.is_multipart:
            self._leaf(node, parent)
            return
        if parent is not None and (parent.kind, node.kind) not in _CANONICAL:
            self._lose(LossKind.NESTING, node)
        if node.kind == "multipart/report":
            self._lose(LossKind.REPORT, node)
        if node.kind == "multipart/alternative":
            self._alternatives += 1
            self._alternative(node)
            self._alternatives -= 1
        elif node.kind == "multipart/related":
            self._related(node)
        else:
            for child in node.children:
                self._walk(child, node)

    def _alternative(self, node: Node) -> None:
        """RFC 2046 s5.1.4: the last of a kind is the best. Beside plain text and HTML nothing can be said."""
        last = {child.kind: child for child in node.children}
        has_body = not _BODY_KINDS.isdisjoint(leaf.kind for leaf in node.leaves())
        for child in node.children:
            if child.is_multipart or (child.kind in _BODY_KINDS and last[child.kind] is child):
                self._walk(child, node)
            elif child.kind in _CALENDARS:
                self._lose(LossKind.CALENDAR, child)
                self._attach(child, is_related=False)
            elif child.kind == "text/x-amp-html":
                self._lose(LossKind.AMP, child)
            elif child.kind.startswith("text/") and not has_body and last[child.kind] is child:
                self._walk(child, node)
            elif child.kind.startswith("text/") or child.kind in _BODY_KINDS:
                self._lose(LossKind.ALTERNATIVE, child)
            else:
                # A file that somebody put among the alternatives: shown as one by most programs.
                self._attach(child, is_related=False)

    def _related(self, node: Node) -> None:
        """RFC 2387 s3.2: `start` names the root, else it is the first part."""
        start = node.type.get("start").strip("<>")
        root = next((child for child in node.children if start and _content_id(child) == start), node.children[0])
        self._walk(root, node)
        for child in node.children:
            if child is root:
                continue
            if child.is_multipart:
                self._walk(child, node)
            else:
                self._attach(child, is_related=True)

    def _leaf(self, node: Node, parent: Node | None) -> None:
        if not self._is_body(node, parent):
            self._attach(node, is_related=False)
            return
        if node.kind in _CALENDARS:
            self._lose(LossKind.CALENDAR, node)
            self._attach(node, is_related=False)
        elif node.kind == "text/html":
            self._note_join(node, self._htmls)
            self._htmls.append(_Html(self._text(node)))
        else:
            self._plain(node)

    def _plain(self, node: Node) -> None:
        if node.kind != "text/plain":
            self._lose(LossKind.TEXT_KIND, node)
        self._note_join(node, self._texts)
        text = self._text(node)
        self._texts.append(text)
        if not self._alternatives and text.strip():
            # Whoever reads the HTML is to see it, too: the footer of a mailing list is such a text.
            shown = f'<div style="white-space: pre-wrap">{escape(text, quote=False)}</div>'
            self._htmls.append(_Html(shown, is_html=False))

    def _is_body(self, node: Node, parent: Node | None) -> bool:
        if not node.kind.startswith("text/") or node.disposition.kind == "attachment":
            return False
        if parent is None or not _file_name(node):
            return (
                node.kind in _BODY_KINDS
                or parent is None
                or parent.kind == "multipart/alternative"
                or (node.kind in _CALENDARS)
            )
        # A named text is a file, unless it is what the message begins with.
        return node.kind in _BODY_KINDS and not (self._texts or self._htmls or self._files)

    # -- taking a part's content ------------------------------------------------------------------

    def _decoded(self, node: Node) -> bytes:
        data, is_whole = decode_body(node.content, decode(node.header("content-transfer-encoding")))
        if not is_whole:
            self._lose(LossKind.ENCODING, node)
        return data

    def _text(self, node: Node) -> str:
        reading = decode_text(self._decoded(node), node.type.get("charset"))
        if not reading.is_known:
            self._lose(LossKind.CHARSET_UNKNOWN, node)
        if not reading.is_whole:
            self._lose(LossKind.CHARSET_WRONG, node)
        text = join_lines(reading.text)
        if node.kind == "text/plain" and node.type.get("format").lower() == "flowed":
            return unflow(text, delete_space=node.type.get("delsp").lower() == "yes")
        return text

    def _note_join(self, node: Node, before: Sequence[object]) -> None:
        if before:
            self._lose(LossKind.TEXTS_JOINED, node)

    def _attach(self, node: Node, *, is_related: bool) -> None:
        data = self._decoded(node) if self._with_files else b""
        name = _file_name(node)
        if not name:
            name = _made_up_name(node, data)
            self._lose(LossKind.FILE_NAME, node)
        kept = "".join([f'; {one}="{value}"' for one in _KEPT_PARAMETERS if _is_plain(value := node.type.get(one))])
        attachment = Attachment(name, node.kind + kept, data, _content_id(node))
        self._files.append(_File(node, attachment, is_related))

    def _sorted_files(self, html: str) -> tuple[tuple[Attachment, ...], tuple[Attachment, ...]]:
        """Attachments, and what the HTML shows: many programs give every attachment a Content-ID, shown or not."""
        shown = {unquote(match) for match in _CID.findall(html)}
        attachments, inline = [], []
        for one in self._files:
            wanted = one.attachment.content_id
            meant_inline = one.is_related and one.node.disposition.kind != "attachment"
            if wanted and (wanted in shown or (html and meant_inline)):
                inline.append(one.attachment)
                continue
            if meant_inline:
                self._lose(LossKind.INLINE, one.node)
            attachments.append(one.attachment)
        return tuple(attachments), tuple(inline)


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else "\n".join([text for text in texts if text])


def _file_name(node: Node) -> str:
    name = node.disposition.get("filename") or node.type.get("name")
    return _PATH.sub("", name)[:MAX_FILE_NAME].strip(" .") if name else ""


def _made_up_name(node: Node, data: bytes) -> str:
    if node.kind == "message/rfc822":
        subject = _NOT_IN_NAMES.sub(" ", first_value(data, "subject") or "").strip(" .")
        return f"{subject[:80] or 'message'}.eml"
    extension = _TYPES.guess_extension(node.kind) or ".bin"
    return f"part-{node.number or '1'}{extension}"


def _content_id(node: Node) -> str:
    value = node.header("content-id")
    return "".join(decode(value).split()).strip("<>") if value else ""


def _is_plain(value: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9_.:+-]{1,40}", value))

"""A message taken apart into what a JSON API can say.

Half the providers take no MIME: they want from, to, subject, a text, an HTML
text and files. `decompose` gives these, with the list of what was lost on the
way, or says that the message cannot be said so at all: a signature over the
MIME, or an encrypted body, would not survive.

Public: `decompose`, `Decomposed`, `Attachment`, `HEADERS_NOT_COPIED`,
`may_be_copied`. What can go wrong: nothing; any octets give one of the two results.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from kumotwist.proto.mime import addresses
from kumotwist.proto.mime.addresses import Address
from kumotwist.proto.mime.charset import clean
from kumotwist.proto.mime.collect import Attachment, Collector
from kumotwist.proto.mime.headers import block_end, decode, fields
from kumotwist.proto.mime.losses import Loss, LossKind, NotRepresentable
from kumotwist.proto.mime.refusals import refusal
from kumotwist.proto.mime.tree import TooComplex, parse

__all__ = ["HEADERS_NOT_COPIED", "Attachment", "Decomposed", "decompose", "may_be_copied"]

#: Header fields (lower case) that JSON APIs have an own place for, set themselves or forbid: SendGrid and
#: SparkPost refuse them, Mailjet answers send-0011. A second Date breaks RFC 5322, a DKIM-Signature over a
#: message that is built anew is broken.
HEADERS_NOT_COPIED: Final = frozenset(
    (
        *("from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "mime-version"),
        *("received", "return-path", "delivered-to", "envelope-to", "x-original-to"),
        *("dkim-signature", "domainkey-signature", "domainkey-status", "authentication-results", "received-spf"),
    )
)
#: The same for whole families of fields: of the MIME structure, ARC seals, and resending (its Received is gone).
_PREFIXES_NOT_COPIED: Final = ("content-", "arc-", "resent-")

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f\x80-\x9f]+")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")


@frozen
class Decomposed:
    """A message without its MIME. No text in it holds CR, NUL or a lone surrogate, no header and name any control.

    `headers` are all header fields of the message in order, decoded; `extra_headers` those
    that may be repeated to an API. `text` and `html` have bare newlines, "" when there is none.
    `inline` are the files that `html` shows through `cid:`; each has its `content_id`.
    """

    headers: tuple[tuple[str, str], ...]
    from_: tuple[Address, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    subject: str = ""
    text: str = ""
    html: str = ""
    attachments: tuple[Attachment, ...] = ()
    inline: tuple[Attachment, ...] = ()
    losses: tuple[Loss, ...] = ()

    @property
    def extra_headers(self) -> tuple[tuple[str, str], ...]:
        """The header fields that go along with an API request, in order."""
        return tuple((name, value) for name, value in self.headers if may_be_copied(name))

    def header(self, name: str) -> str | None:
        """The decoded value of the first header of that name in any case, or None."""
        lowered = name.lower()
        return next((value for field, value in self.headers if field.lower() == lowered), None)


def may_be_copied(name: str) -> bool:
    """Whether a header field may be repeated to a JSON API."""
    lowered = name.lower()
    return lowered not in HEADERS_NOT_COPIED and not lowered.startswith(_PREFIXES_NOT_COPIED)


def decompose(
    message: bytes, *, for_reading: bool = False, with_files: bool | None = None
) -> Decomposed | NotRepresentable:
    """The parts of `message`, an RFC 5322 message with CRLF or LF line ends.

    `for_reading`: its signature is not wanted, so signed mail passes, and neither are its files, which
    are named but empty, unless `with_files` says otherwise.
    """
    try:
        root = parse(message)
    except TooComplex as error:
        return NotRepresentable(f"it has {error}")
    reason = refusal(root, for_reading=for_reading)
    if reason:
        return NotRepresentable(reason)
    collected = Collector(with_files=not for_reading if with_files is None else with_files).collect(root)
    found, losses = _headers(message)
    values: dict[str, tuple[Address, ...]] = {}
    for name in ("from", "to", "cc", "reply-to"):
        values[name], unreadable = addresses.read(root.header(name))
        losses += [Loss(LossKind.ADDRESS, name)] * bool(unreadable)
    return Decomposed(
        headers=found,
        from_=values["from"],
        to=values["to"],
        cc=values["cc"],
        reply_to=values["reply-to"],
        subject=_one_line(root.header("subject")),
        text=collected.text,
        html=collected.html,
        attachments=collected.attachments,
        inline=collected.inline,
        losses=(*losses, *collected.losses),
    )


def _headers(message: bytes) -> tuple[tuple[tuple[str, str], ...], list[Loss]]:
    found, losses = [], []
    for raw_name, raw in fields(message[: block_end(message)]):
        name = raw_name.decode("ascii")
        found.append((name, _one_line(raw)))
        if not raw.isascii() and not _is_utf8(raw):
            losses.append(Loss(LossKind.HEADER_8BIT, name.lower()))
    return tuple(found), losses


def _one_line(raw: bytes) -> str:
    """A header value in one line: an encoded word may hold a line break, which would end a header elsewhere."""
    text = clean(decode(_FOLD.sub(b"", raw)))
    return text if text.isprintable() else _CONTROLS.sub(" ", text).strip()


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True

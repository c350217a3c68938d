"""What bounce and complaint reports have in common: blocks of fields inside a part, and the message that is returned.

Public: `Block`, `blocks`, `returned`, `original_text`, `REPORT`. Nothing goes wrong: what cannot
be read is left out.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection
from email.utils import parsedate_to_datetime
from typing import Final

from attrs import frozen

from kumotwist.core.json import Json, JsonObject
from kumotwist.proto.mime.headers import decode, fields
from kumotwist.proto.mime.transfer import decode_body
from kumotwist.proto.mime.tree import Node

#: The content type of every report (RFC 6522).
REPORT: Final = "multipart/report"
#: Blocks of one report. Ours: a report on a message with all its recipients (`max_recipients_per_message`).
MAX_BLOCKS: Final = 1_025
#: Octets of the report part that are read. Ours: a thousand recipients with 1 KiB each.
MAX_PART: Final = 1024 * 1024
#: Octets of the returned message that are kept. Ours: headers and a good piece of the text, so that a log
#: record stays a line that tools can read.
MAX_RETURNED: Final = 128 * 1024
_GAP: Final = re.compile(rb"\r?\n[ \t]*(?:\r?\n[ \t]*)+(?=\S)")
_RETURNED: Final = frozenset(("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"))
#: A folded value is shown on one line with one blank, as KumoMTA shows it; rules match on these texts.
_FOLD: Final = re.compile(rb"[ \t]*\r?\n[ \t]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")


@frozen
class Block:
    """The fields of one block: decoded values by lower-case name, in order."""

    values: dict[str, list[str]]

    def first(self, name: str) -> str:
        """The first value of a field, "" when there is none."""
        return self.values.get(name, [""])[0]

    def typed(self, name: str) -> tuple[str, str]:
        """A value of the form `type; value`; the type in lower case, "" when it has none."""
        kind, found, value = self.first(name).partition(";")
        return (kind.strip().lower(), value.strip()) if found else ("", kind.strip())

    def date(self, *names: str) -> str | None:
        """The first readable date among these fields, as RFC 3339 in UTC."""
        for name in names:
            when = self.moment(name)
            if when is not None:
                return dt.datetime.fromtimestamp(when, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return None

    def extensions(self, known: Collection[str]) -> JsonObject:
        """The fields that are not `known`, each with all its values."""
        return {name: list[Json](values) for name, values in self.values.items() if name not in known}

    def moment(self, name: str) -> float | None:
        """Unix seconds of an RFC 5322 date, None without a readable one."""
        try:
            found = parsedate_to_datetime(self.first(name))
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        return (found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)).timestamp()


def content_of(part: Node) -> bytes:
    """The octets of a part, its transfer encoding undone."""
    encoding = part.header("content-transfer-encoding").decode("ascii", "replace")
    return decode_body(part.content, encoding)[0]


def blocks(part: Node) -> list[Block]:
    """The blocks of a report part, which empty lines part."""
    content = content_of(part)[:MAX_PART].strip()
    return [_block(one) for one in _GAP.split(content, MAX_BLOCKS)[:MAX_BLOCKS]]


def returned(report: Node) -> bytes | None:
    """The message that the report is about, or its headers; None when it does not bring it along."""
    part = next((one for one in report.children if one.kind in _RETURNED), None)
    if part is None:
        return None
    # RFC 2046 s5.2.1: a message/rfc822 is never encoded, whatever it says.
    content = part.content if part.kind == "message/rfc822" else content_of(part)
    return content[:MAX_RETURNED]


def original_text(original: bytes | None) -> str | None:
    """A returned message as a record or a policy shows it."""
    return original.replace(b"\r\n", b"\n").decode("utf-8", "replace") if original is not None else None


def _block(octets: bytes) -> Block:
    values: dict[str, list[str]] = {}
    for name, value in fields(octets + b"\r\n"):
        text = _CONTROL.sub(" ", decode(_FOLD.sub(b" ", value))).strip()
        values.setdefault(name.decode("ascii", "replace").lower(), []).append(text)
    return Block(values)

"""Which message a report returns: the ids that our own headers in it name, its Message-ID, and for whom it was.

Public: `origin_of`, `trace_of`, `message_id_of`. Nothing goes wrong: what cannot be read is left out.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import msgspec

from kumotwist.core.ids import SpoolId
from kumotwist.core.json import JsonObject
from kumotwist.core.origin import Origin
from kumotwist.proto.mime.headers import block_end, fields

#: Of what is returned, as much is looked at: as of what is kept (`proto.reportfields`).
_MAX: Final = 128 * 1024
#: Ids that are looked at. Ours: a message that has passed more houses of our kind is a loop.
_MAX_IDS: Final = 16
#: Our Received header (`proto.mime.trace`), folded anew by whoever.
_RECEIVED: Final = re.compile(
    rb"\(KumoMTA [^)]*\)\s+with\s+\S+(?:\s+\([^)]*\))?\s+id\s+([0-9a-f]{32})\b", re.IGNORECASE
)
_LABEL: Final = b"\nmessage-id:"
_ID: Final = re.compile(rb"[ \t]*(?:\r?\n[ \t]+)?<?([^<>\s]{1,998})")
_SPACE: Final = re.compile(rb"\s+")
#: What begins our own trace header: `{"_@_":"\\_/"`.
_MARK: Final = "_@_"
_MARK_VALUE: Final = "\\_/"


def origin_of(original: bytes | None) -> Origin:
    """What a returned message, or its headers, says of itself."""
    if original is None:
        return Origin()
    block = original[: min(block_end(original), _MAX)]
    ids: list[SpoolId] = []
    for name, value in fields(block):
        found = _RECEIVED.search(value) if name.lower() == b"received" else None
        if found is not None and len(ids) < _MAX_IDS:
            ids.append(SpoolId(bytes.fromhex(found[1].decode("ascii"))))
    told = (trace_of(block) or {}).get("recipient")
    recipients = [told] if isinstance(told, str) else told if isinstance(told, list) else []
    return Origin(tuple(ids), message_id_of(block), tuple([one for one in recipients if isinstance(one, str)]))


def message_id_of(message: bytes) -> str:
    """The Message-ID without its brackets, "" without one; no dearer than the headers are long."""
    end = message.find(b"\r\n\r\n", 0, _MAX)
    lowered = b"\n" + message[: end if end >= 0 else _MAX].lower()
    at = lowered.find(_LABEL)
    if at < 0:
        return ""
    # `lowered` has one octet more in front.
    found = _ID.match(message, at + len(_LABEL) - 1)
    return found[1].decode("latin-1") if found is not None else ""


def trace_of(original: bytes) -> JsonObject | None:
    """What our own trace header says, whatever its name: that of our message, if it is ours."""
    for name, value in fields(original[: block_end(original)]):
        if name[:2].lower() != b"x-":
            continue
        try:
            found = msgspec.json.decode(base64.b64decode(_SPACE.sub(b"", value), validate=True))
        except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
            continue
        if isinstance(found, dict) and found.get(_MARK) == _MARK_VALUE:
            return {key: inner for key, inner in found.items() if key != _MARK}
    return None

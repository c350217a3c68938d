"""Trace headers: what we put on top of a message that we accept.

Used by the ways in and by `kumo.apply_supplemental_trace_header`.

Public: `received`, `supplemental`, `Reception`. Both give whole header fields
with CRLF, to be put before the message. The values come from checked input;
what could still break a header line is replaced.
"""

from __future__ import annotations

import binascii
import re
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec
from attrs import field, frozen

from kumotwist.config.listener import TraceHeaders
from kumotwist.core.json import Json, JsonObject

#: Columns of a folded line: KumoMTA's choice, RFC 5322 s2.1.1 recommends 78.
_COLUMNS: Final = 75
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f]")
_encode: Final = msgspec.json.Encoder().encode
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@frozen
class Reception:
    """The facts of a Received header that one session shares.

    `protocol` is `ESMTP`, `ESMTPS` or `ESMTPSA`; `tls` is `version:cipher` or "".
    """

    ehlo_domain: str
    peer: str
    hostname: str
    local: str
    protocol: str
    tls: str = ""
    #: The header up to what differs from message to message.
    start: bytes = field(init=False, repr=False)

    @start.default
    def _start(self) -> bytes:
        tls = f" ({self.tls})" if self.tls else ""
        text = (
            f"Received: from {self.ehlo_domain or 'unspecified'} ({self.peer})\r\n"
            f"  by {self.hostname} (KumoMTA {self.local}) \r\n"
            f"  with {self.protocol}{tls} id "
        )
        return text.encode("utf-8", "replace")


def received(reception: Reception, message_id: str, recipient: str, now: float) -> bytes:
    """The Received header (RFC 5321 s4.4) in KumoMTA's form; `now` in Unix seconds."""
    if not recipient.isprintable():
        recipient = _UNSAFE.sub("?", recipient)
    end = f"{message_id} for <{recipient}>;\r\n  ".encode("utf-8", "replace")
    return reception.start + end + _date(int(now))


@lru_cache(maxsize=4)
def _date(seconds: int) -> bytes:
    """RFC 5322 s3.3 in UTC and the line end; the same second is asked for many times."""
    at = time.gmtime(seconds)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{day}, {at.tm_mday} {month} {at.tm_year} {clock} +0000\r\n".encode()


def supplemental(trace: TraceHeaders, recipients: Sequence[str], meta: JsonObject) -> bytes:
    """The header that names the recipient (a list when there are several) and chosen meta, in base64 JSON."""
    recipient: Json = recipients[0] if len(recipients) == 1 else list(recipients)
    content: JsonObject = {"_@_": "\\_/", "recipient": recipient}
    for name in trace.include_meta_names:
        if name in meta:
            content[name] = meta[name]
    return _folded(trace.header_name.encode(), binascii.b2a_base64(_encode(content), newline=False))


def _folded(name: bytes, value: bytes) -> bytes:
    first = max(_COLUMNS - len(name) - 2, 1)
    if len(value) <= first:
        return b"%b: %b\r\n" % (name, value)
    rest = [value[at : at + _COLUMNS - 1] for at in range(first, len(value), _COLUMNS - 1)]
    return b"%b: %b\r\n" % (name, b"\r\n\t".join([value[:first], *rest]))

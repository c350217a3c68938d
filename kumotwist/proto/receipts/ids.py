"""Providers' names for messages, in forms that can be compared.

A provider need not write an id in its receipt as it did in its response: angle
brackets come and go, so do leading zeros and case, SMS centres answer in hex
and report in decimal, SendGrid appends to it.

Public: `canonical`, `forms`, `doubtful_forms`.
"""

from __future__ import annotations

import re
from typing import Final

_HEX: Final = re.compile(r"[0-9a-f]+\Z")
_DECIMAL: Final = re.compile(r"[0-9]+\Z")
#: Digits of an id that may be a number: 64 bits in decimal have 20 (SMPP 3.4 s5.2.23 allows 65 octets).
_MAX_NUMBER: Final = 20
#: Channels whose later ids begin with the first one, and what parts them.
_PREFIXED: Final = {"sendgrid": "."}
#: Channels that number their messages, and may write numbers in either base.
_NUMBERED: Final = frozenset({"smpp", "kannel"})


def canonical(remote_id: str) -> str:
    """One form for all spellings that surely mean the same."""
    text = remote_id.strip().removeprefix("<").removesuffix(">").casefold()
    return text.lstrip("0") or "0" if _HEX.match(text) else text


def forms(channel: str, remote_id: str) -> tuple[str, ...]:
    """The canonical forms under which the message may have been handed over, the likeliest first."""
    separator = _PREFIXED.get(channel)
    if separator is None or separator not in remote_id:
        # Some events name the message in two ways.
        return tuple([canonical(one) for one in remote_id.split()])
    parts = remote_id.strip().split(separator)
    # SendGrid's older ids have two dots of their own, and some four are appended.
    return tuple([canonical(separator.join(parts[:count])) for count in range(min(len(parts), 8), 0, -1)])


def doubtful_forms(channel: str, remote_id: str) -> tuple[str, ...]:
    """The same number in the other base. It may as well be another message's: a caller needs a second sign."""
    text = canonical(remote_id)
    if channel not in _NUMBERED or len(text) > _MAX_NUMBER or not _HEX.match(text):
        return ()
    found = [str(int(text, 16))]
    if _DECIMAL.match(text):
        found.append(f"{int(text):x}")
    return tuple([one for one in found if one != text])

"""Delivery receipts: what an SMSC says later about a message that it took (SMPP 3.4 s5.2.12, appendix B).

A receipt is a deliver_sm (or data_sm) marked in esm_class. What it says stands
in optional parameters, in a text of a customary form, or in both:

    id:0123 sub:001 dlvrd:001 submit date:2611250712 done date:2611250713 stat:DELIVRD err:000 text:Hello

The parameters rule; the text is read tolerantly, since every vendor has a form
of its own. SMSCs that forget the mark are known by the parameters or the form.

Public: `SmscReceipt`, `MessageState`, `read_receipt`.
"""

from __future__ import annotations

import enum
import re
from datetime import UTC, datetime
from typing import Final

from attrs import frozen

from kumotwist.proto.smpp.commands import DELIVERY_RECEIPT, INTERMEDIATE_NOTIFICATION, MESSAGE_TYPE, Tag
from kumotwist.proto.smpp.messages import ShortMessage


class MessageState(enum.IntEnum):
    """message_state (SMPP 3.4 s5.2.28)."""

    ENROUTE = 1
    DELIVERED = 2
    EXPIRED = 3
    DELETED = 4
    UNDELIVERABLE = 5
    ACCEPTED = 6
    UNKNOWN = 7
    REJECTED = 8


#: `stat:` by its first letters, as different vendors cut the words differently (appendix B).
_STATS: Final = {
    "ENR": MessageState.ENROUTE,
    "DELI": MessageState.DELIVERED,
    "EXP": MessageState.EXPIRED,
    "DELE": MessageState.DELETED,
    "UND": MessageState.UNDELIVERABLE,
    "ACC": MessageState.ACCEPTED,
    "BUF": MessageState.ACCEPTED,
    "REJ": MessageState.REJECTED,
    "FAI": MessageState.UNDELIVERABLE,
}

_FIELD: Final = re.compile(
    r"(?:\A|\s)(id|sub|dlvrd|submit[ _]?date|done[ _]?date|stat|err|text)\s?:\s?([^\s]*)", re.IGNORECASE
)
_DIGITS: Final = re.compile(r"\d{10,14}\Z")


@frozen(kw_only=True)
class SmscReceipt:
    """What became of the message that the SMSC calls `message_id`.

    `error` is the network's or the SMSC's code, "" for none; `done_at` in Unix
    seconds, read as UTC, None when it is not said or not readable. `recipient`
    is the handset's address. `is_intermediate`: the delivery goes on.
    """

    message_id: str
    state: MessageState
    error: str = ""
    done_at: float | None = None
    recipient: str = ""
    text: str = ""
    is_intermediate: bool = False


def read_receipt(message: ShortMessage) -> SmscReceipt | None:
    """The receipt that `message` is, or None when it is a message of a subscriber."""
    kind = message.esm_class & MESSAGE_TYPE
    is_marked = bool(kind & (DELIVERY_RECEIPT | INTERMEDIATE_NOTIFICATION))
    named = _text_of(message.tlv(Tag.RECEIPTED_MESSAGE_ID))
    # The text is ASCII by custom, whatever data_coding says.
    text = message.text.decode("latin-1")
    fields = _fields(text)
    if not (is_marked or named or ("id" in fields and "stat" in fields)):
        return None
    return SmscReceipt(
        message_id=named or fields.get("id", ""),
        state=_state(message.tlv(Tag.MESSAGE_STATE), fields.get("stat", "")),
        error=_error(message.tlv(Tag.NETWORK_ERROR_CODE), fields.get("err", "")),
        done_at=_moment(fields.get("done", "")),
        recipient=message.source.digits,
        text=text,
        is_intermediate=bool(kind & INTERMEDIATE_NOTIFICATION) and not kind & DELIVERY_RECEIPT,
    )


def _fields(text: str) -> dict[str, str]:
    """The first of each field; what stands behind `text:` is the message's own and not looked at."""
    found: dict[str, str] = {}
    for match in _FIELD.finditer(text):
        name = match[1].lower().removesuffix("date").rstrip(" _")
        if name == "text":
            break
        found.setdefault(name, match[2])
    return found


def _state(octet: bytes | None, stat: str) -> MessageState:
    if octet:
        try:
            return MessageState(octet[-1])
        except ValueError:
            return MessageState.UNKNOWN
    word = stat.upper()
    return next((state for start, state in _STATS.items() if word.startswith(start)), MessageState.UNKNOWN)


def _error(octets: bytes | None, err: str) -> str:
    """The network's type and code (s5.3.2.31), or what the text says; zeros say nothing."""
    if octets is not None and len(octets) == 3:
        code = int.from_bytes(octets[1:], "big")
        return f"{octets[0]}:{code}" if code else ""
    return err if err.strip("0") else ""


def _moment(digits: str) -> float | None:
    """YYMMDDhhmm, with seconds or the century in front for some."""
    if not _DIGITS.match(digits):
        return None
    form = {10: "%y%m%d%H%M", 12: "%y%m%d%H%M%S", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    if form is None:
        return None
    try:
        return datetime.strptime(digits, form).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _text_of(octets: bytes | None) -> str:
    """A C-octet string, with or without its NUL."""
    return "" if octets is None else octets.split(b"\0", 1)[0].decode("latin-1").strip()

"""Receipts: what a provider reports later about a message that it took over.

A channel or the receipts intake makes a `ReceiptEvent` out of what came in and
gives it to the `ReceiptSink`; the ledger in `records` finds the message it
belongs to and writes a Receipt record.

Every text in an event is cut to a bound and freed of control characters here,
whoever made it: nothing a provider sends can break a log line.

Public: `ReceiptState`, `ReceiptClass`, `ReceiptEvent`, `Heard`, `printable`, `METADATA_ID`, `MAIL`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from kumotwist.core.ids import SpoolId
from kumotwist.core.json import Json, JsonObject

#: Our spool id, in hexadecimal, goes by this name in the metadata that a provider keeps for us and
#: gives back with its events. A letter first and no dash: every provider takes that.
METADATA_ID: Final = "kumo_id"
#: The channel of what is reported by mail about mail: bounces and complaints.
MAIL: Final = "mail"
#: Characters of the provider's text, as of the responses of channels.
MAX_TEXT: Final = 1_000
#: Characters of an id. Ours: SES's longest has 60, a Message-ID may have 998 (RFC 5322 s2.1.1).
MAX_ID: Final = 998
#: Characters of a recipient: an address (RFC 5321 s4.5.3.1.3 allows 256), a token, a push endpoint.
MAX_RECIPIENT: Final = 1_000
#: Raw facts that are kept of an event, and characters of each. Ours: a record stays below some 16 KiB.
MAX_FACTS: Final = 32
MAX_FACT: Final = 500
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class ReceiptState(enum.Enum):
    """What became of the message; the value is what readers see."""

    #: On its way: the provider or the next network took it.
    ACCEPTED = "accepted"
    #: Not yet; the provider goes on trying.
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    FAILED = "failed"
    EXPIRED = "expired"
    OPENED = "opened"
    CLICKED = "clicked"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    #: The provider says that it does not know, or says what we do not know.
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Whether it ends the delivery: nothing about getting there comes after it."""
        return self in _FINAL


_FINAL: Final = frozenset({ReceiptState.DELIVERED, ReceiptState.FAILED, ReceiptState.EXPIRED})


class ReceiptClass(enum.Enum):
    """Why, in a few words that all providers share; the provider's own stand in the text."""

    NONE = ""
    #: The address does not exist or never will take it.
    HARD = "hard"
    #: It might work later: full mailbox, absent subscriber.
    SOFT = "soft"
    #: Refused for who sends it: reputation, block lists, carrier filters.
    BLOCK = "block"
    #: Refused for what it says.
    CONTENT = "content"
    #: Not tried: the provider has the address on a list of its own (earlier bounce, complaint, unsubscribed).
    SUPPRESSED = "suppressed"
    #: The account or its configuration is at fault.
    ACCOUNT = "account"
    #: An automatic reply, a challenge: no failure of delivery.
    AUTOREPLY = "autoreply"
    UNDETERMINED = "undetermined"


def printable(text: str, limit: int) -> str:
    """One line of at most `limit` characters, without control characters and unpaired surrogates."""
    return _CONTROL.sub(" ", text[: limit * 2]).strip()[:limit]


def _text(text: str) -> str:
    return printable(text, MAX_TEXT)


def _id(text: str) -> str:
    return printable(text, MAX_ID)


def _recipient(text: str) -> str:
    return printable(text, MAX_RECIPIENT)


def _bounded(facts: Mapping[str, Json]) -> JsonObject:
    """At most `MAX_FACTS` plain values; tables and lists are left out, absent ones too."""
    kept: JsonObject = {}
    for name, value in facts.items():
        if isinstance(value, str):
            value = printable(value, MAX_FACT)
        elif not isinstance(value, (bool, int, float)):
            continue
        if value == "" or (isinstance(value, int) and abs(value) >= 2**63):
            continue
        kept[printable(name, MAX_FACT)] = value
        if len(kept) >= MAX_FACTS:
            break
    return kept


@frozen(kw_only=True)
class ReceiptEvent:
    """One thing that a provider reports about one recipient of one message.

    `channel` and `account` say who reports; `account` is the operator's name
    for it. The message is named by `spool_id`, when the provider gave our
    metadata back, and by `remote_id`, the provider's name; "" when absent.
    `event_id` names the event itself: the same one twice is one event.
    `event_time` is in Unix seconds, None when the provider does not say.
    `parts` is in how many parts the provider sent an SMS, when it says, and
    `part` (from 1) which of them the event is about, when all go by one
    `remote_id`. `facts` are plain values of the provider's that are worth
    keeping.
    """

    channel: str
    account: str = ""
    state: ReceiptState
    class_: ReceiptClass = ReceiptClass.NONE
    text: str = field(default="", converter=_text)
    spool_id: SpoolId | None = None
    remote_id: str = field(default="", converter=_id)
    recipient: str = field(default="", converter=_recipient)
    event_id: str = field(default="", converter=_id)
    event_time: float | None = None
    part: int | None = None
    parts: int | None = None
    facts: JsonObject = field(factory=dict, converter=_bounded)


@frozen
class Heard:
    """What a receipt has said of a message as a whole: the state, and by which route table it had been handed over.

    `table` is None when no table chose, or when only our id tells which message is meant; `noted` is when it came
    in, in Unix seconds.
    """

    table: str | None
    state: ReceiptState
    noted: float

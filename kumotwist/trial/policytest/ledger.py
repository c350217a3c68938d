"""Receipts in a test: the daemon's own ledger and desk, on a state file in memory.

Public: `MemoryState`, `about`, `event_of`. What can go wrong: Failed for a receipt that cannot come.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from kumotwist.core.ids import to_hex
from kumotwist.core.message import Message
from kumotwist.core.outcome import Verdict
from kumotwist.core.receipt import ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.lua.binding import integer, mapping, number, text
from kumotwist.net.clock import Clock
from kumotwist.net.sqlite import MAX_WAITING, SqliteFile
from kumotwist.net.threads import SerialThread
from kumotwist.records.receipts.handovers import SILENT
from kumotwist.trial.policytest.channels import Attempt
from kumotwist.trial.policytest.faults import Failed

E = TypeVar("E", ReceiptState, ReceiptClass)

_KEYS: Final = ("state", "class", "text", "to", "facts", "part", "parts", "event_id")


class InlineThread(SerialThread):
    """Runs its work at once and tells of its end in the next turn, as a thread would."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        """Run `work()`, then `done(error)`."""
        error: BaseException | None = None
        try:
            work()
        except BaseException as caught:  # it is handed over, not lost
            error = caught
        self._clock.callLater(0, done, error)

    async def close(self) -> None:
        """There is nothing to end."""


class MemoryState(SqliteFile):
    """What workers share, in memory."""

    @classmethod
    async def made(cls, clock: Clock, schema: Iterable[str]) -> MemoryState:
        """A new one with these tables."""
        state = cls(Path("the state of a test"), MAX_WAITING, InlineThread("state", clock))
        state._connection = sqlite3.connect(":memory:", isolation_level=None)
        await state.define(schema)
        return state


def about(attempts: Sequence[Attempt], whom: object) -> Attempt:
    """The delivery that a receipt is for: the last of a message, of an id, of an attempt, or to a recipient."""
    wanted = to_hex(whom.id) if isinstance(whom, Message) else whom.get("id") if isinstance(whom, dict) else whom
    name = text(wanted, "whom the receipt is for")
    channel = whom.get("channel") if isinstance(whom, dict) else None
    silent = None
    for one in reversed(attempts):
        is_meant = to_hex(one.message.id) == name or name in [each.email for each in one.message.recipients]
        if one.outcome.verdict is Verdict.DELIVERED and is_meant and channel in (None, one.channel):
            peer = one.outcome.peer
            if peer is not None and peer.channel is not None and peer.channel not in SILENT:
                return one
            silent = silent or one
    if silent is not None:
        raise Failed(
            f"no receipts come of what {silent.channel} has delivered; of mail, bounces and complaints come by mail, "
            "for a listener domain with log_oob and log_arf"
        )
    raise Failed(f"nothing has been delivered to {name}, so that no receipt can come")


def event_of(delivery: Attempt, given: object, serial: int, now: float) -> ReceiptEvent:
    """What the provider says of `delivery`: a state, or a table with `state` and more. Raises ValueError."""
    table: Mapping[str, object] = {"state": given} if isinstance(given, str) else mapping(given, "receipt")
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise ValueError(f"a receipt has {', '.join(_KEYS)}, not {unknown[0]!r}")
    state = _one_of(ReceiptState, table.get("state"), "state")
    class_ = table.get("class")
    peer = delivery.outcome.peer
    is_failure = state in (ReceiptState.FAILED, ReceiptState.EXPIRED)
    return ReceiptEvent(
        channel=delivery.channel,
        account=(peer.account if peer is not None else None) or "",
        state=state,
        class_=_one_of(ReceiptClass, class_ if class_ is not None else "undetermined" if is_failure else "", "class"),
        text=text(table.get("text", ""), "text"),
        spool_id=delivery.message.id,
        remote_id="",
        recipient=text(table["to"], "to") if "to" in table else delivery.message.recipients[0].email,
        event_id=text(table["event_id"], "event_id") if "event_id" in table else f"test/{serial}",
        event_time=now,
        part=integer(table["part"], "part") if "part" in table else None,
        parts=integer(table["parts"], "parts") if "parts" in table else None,
        facts={name: _fact(one, name) for name, one in mapping(table.get("facts") or {}, "facts").items()},
    )


def _one_of(kind: type[E], value: object, what: str) -> E:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(one.value for one in kind if one.value)
        raise ValueError(f"the {what} of a receipt is one of {known}, not {value!r}") from None


def _fact(value: object, name: str) -> str | float:
    return number(value, name) if isinstance(value, (int, float)) else text(value, name)

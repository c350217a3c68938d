"""Records of the queue, and the end of a message.

Every record that the queue writes is made here, and a message that has come to
its end leaves the spool here, so the order is one and the same everywhere:
first the record, then the removal.

Public: `Ledger`, `Leg`, `NOWHERE`. What can go wrong: nothing here; a recorder never
raises, and a removal reaches the disk with the spool's next sync.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from attrs import evolve, frozen

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import MessageStore, Recorder
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Verdict
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import Response
from kumotwist.core.way import Way
from kumotwist.net.clock import Clock
from kumotwist.queue.announcer import Move
from kumotwist.queue.scheduled import ScheduledQueue


@frozen
class Leg:
    """Where a message was going when something happened to it: ready queue, pool, source, provider, way by a table."""

    site: str
    pool: str | None
    source: str | None
    provider: str | None = None
    way: Way | None = None


#: Not on its way anywhere.
NOWHERE: Final = Leg("", None, None)


def _ignore(_: object) -> None:
    """Nobody waits for it."""


@frozen
class Ledger:
    """Writes the queue's records and takes finished messages out of the spool."""

    store: MessageStore
    recorder: Recorder
    clock: Clock
    #: Hears of a message on a fallback that has ended.
    ended: Callable[[SpoolId], object] = _ignore
    #: The way by a route table that a message is on, or that it gives up now; and who hears that it has ended.
    way_of: Callable[[Message], Way | None] = _ignore
    arrived: Callable[[Message], object] = _ignore

    async def note(
        self,
        kind: RecordType,
        queue: ScheduledQueue,
        message: Message,
        response: Response,
        leg: Leg = NOWHERE,
        outcome: Outcome | None = None,
        recipients: Iterable[EnvelopeAddress] | None = None,
    ) -> None:
        """Write one record; `recipients` are those it is about, all of the message's when absent.

        `outcome` is that of the attempt, when there was one; a bounce because
        the address is dead has a second record of its own.
        """
        peer = outcome.peer if outcome is not None else None
        reception_protocol = message.meta.get("reception_protocol")
        about = message.recipients if recipients is None else recipients
        record = Record(
            type=kind,
            event_time=self.clock.seconds(),
            response=response,
            message=message,
            sender=message.sender.email,
            recipients=tuple([recipient.email for recipient in about]),
            queue=queue.name.text,
            site=leg.site,
            attempts=message.attempts,
            size=message.size,
            egress_pool=leg.pool,
            egress_source=leg.source,
            peer=peer,
            delivery_protocol=peer.delivery_protocol if peer is not None else None,
            reception_protocol=reception_protocol if isinstance(reception_protocol, str) else None,
            session_id=peer.session_id if peer is not None else None,
            provider_name=leg.provider,
            remote_id=outcome.remote_id if outcome is not None else None,
            parts=outcome.parts if outcome is not None else 1,
            way=leg.way or self.way_of(message),
        )
        await self.recorder.record(record)
        if outcome is not None and outcome.is_address_dead and outcome.verdict is Verdict.PERMANENT:
            await self.recorder.record(evolve(record, type=RecordType.DEAD_ADDRESS))

    async def tell(self, queue: ScheduledQueue, message: Message, to: str, reason: str, evidence: str) -> None:
        """A Fallback record: the message leaves what it is on for `to`, "" when it goes nowhere any more."""
        course = message.course
        from_, table = (course.at, course.table) if course is not None else ("", "")
        record = Record(
            type=RecordType.FALLBACK,
            event_time=self.clock.seconds(),
            response=Response(250, f"{reason}: {evidence}"),
            message=message,
            sender=message.sender.email,
            recipients=tuple([recipient.email for recipient in message.recipients]),
            queue=queue.name.text,
            attempts=message.attempts,
            size=message.size,
            fallback={"table": table, "from": from_, "to": to, "reason": reason, "evidence": evidence},
        )
        await self.recorder.record(record)

    async def note_move(self, move: Move) -> None:
        """A RouteChange record: a share of a route table has moved, or a breaker has changed."""
        change = move.change
        record = Record(
            type=RecordType.ROUTE_CHANGE,
            event_time=move.at,
            response=Response(250, change.in_words()),
            way=Way(move.table, change.route, change.name),
            route_change={
                "what": change.what,
                "before": change.before,
                "after": change.after,
                "evidence": change.evidence,
            },
        )
        await self.recorder.record(record)

    async def end(
        self,
        kind: RecordType,
        queue: ScheduledQueue,
        message: Message,
        response: Response,
        leg: Leg = NOWHERE,
        outcome: Outcome | None = None,
    ) -> None:
        """Record what became of `message` as a whole and forget it."""
        await self.note(kind, queue, message, response, leg, outcome)
        self.forget(message)

    def forget(self, message: Message) -> None:
        """Take `message` out of the spool and let go of its body: it has ended."""
        self.store.remove(message.id)
        self.arrived(message)
        message.release_body()
        if message.course is not None:
            self.ended(message.id)

"""Admission: the step between a finished message and the queue.

All ways in end here. A batch of messages (one transaction or one request) is
checked against policy's queues, written to disk in one go, recorded as
received, and handed to the queue manager. Only after `save` returned may a
client hear 250 or 200.

Public: `Report`, and `Admission`, with `accept` for all of it, its stages `resolve`, `save`
(and back, `forget`) and `enter` for a caller with something to do between
them, and `inject` (the `Injector` of `core.interfaces`). What can go wrong: `Overload` when too much waits for
the disk, `SpoolUnhealthy`, `SpoolFull`, `PolicyError`, `ResolveError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.errors import Overload, PolicyError, SpoolFull, SpoolUnhealthy
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import MessageStore, QueueManager, Recorder, ReportDesk, Room
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.origin import Origin
from kumotwist.core.outcome import Peer
from kumotwist.core.receipt import ReceiptEvent
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import Response, internal
from kumotwist.core.way import Way
from kumotwist.intake.returned import event_of_bounce, event_of_complaint, origin_of_complaint
from kumotwist.net.clock import Clock
from kumotwist.proto.dsn import DeliveryReport
from kumotwist.proto.origin import origin_of

log: Final = Logger()

#: The queue that swallows: recorded as received, neither stored nor queued (KumoMTA's name).
NULL_QUEUE: Final = "null"
#: Octets of bodies that may wait for one sync at a time. Ours: a disk that hangs
#: must not fill memory; at 100 MB/s this is 2.5 s of mail.
MAX_UNSAVED: Final = 256 * 1024 * 1024

_RECEIVED: Final = Response(250, "")


@frozen(kw_only=True)
class Report:
    """What a received message reports: a complaint (as `proto.arf` gives it), or that mail of ours came back."""

    feedback: JsonObject | None = None
    bounce: DeliveryReport | None = None


_NO_REPORTS: Final[Mapping[SpoolId, Report]] = {}


@define(eq=False)
class Admission:
    """Makes messages durable, records them and hands them to the queue."""

    store: MessageStore
    recorder: Recorder
    queue: QueueManager
    clock: Clock
    room: Room
    #: Knows which mail of ours a report is about; None: nobody does.
    reports: ReportDesk | None = None
    max_unsaved: int = MAX_UNSAVED
    _unsaved: int = field(default=0, init=False)

    async def accept(self, messages: Sequence[Message], peer: Peer | None, session_id: str | None) -> Sequence[Message]:
        """Take over `messages`, all or none up to the disk; the ones that the queue took.

        A message that the queue refuses after it was recorded ends in a Bounce
        record; when it refuses all of them its error is raised. May be
        cancelled only until the messages are on disk.

        Raises Overload, SpoolUnhealthy, SpoolFull, PolicyError, ResolveError.
        """
        names = await self.resolve(messages)
        await self.save(messages, names)
        return await self.enter(messages, names, peer, session_id)

    async def resolve(self, messages: Sequence[Message]) -> Sequence[str]:
        """The queue names of `messages`, each known to have a queue. Raises PolicyError, ResolveError."""
        names = []
        for message in messages:
            name = _queue_name(message)
            if name != NULL_QUEUE:
                await self.queue.resolve(name)
            names.append(name)
        return names

    async def save(self, messages: Sequence[Message], names: Sequence[str]) -> None:
        """Return when all `messages` are on disk, except those for the null queue.

        Cancelled or refused, they are forgotten again. Raises Overload, SpoolUnhealthy, SpoolFull.
        """
        if not self.store.is_healthy:
            raise SpoolUnhealthy("the spool is not accepting writes")
        kept = messages
        if NULL_QUEUE in names:
            kept = [message for message, name in zip(messages, names, strict=True) if name != NULL_QUEUE]
        if not kept:
            return
        size = 0
        for message in kept:
            size += message.size
        if self._unsaved and self._unsaved + size > self.max_unsaved:
            raise Overload("too much mail is waiting for the disk")
        self.room.take(size)
        self._unsaved += size
        try:
            await self.store.save(kept)
        except (CancelledError, SpoolFull, SpoolUnhealthy):
            self.forget(kept)
            raise
        finally:
            self._unsaved -= size
            self.room.written(size)

    async def enter(
        self,
        messages: Sequence[Message],
        names: Sequence[str],
        peer: Peer | None,
        session_id: str | None,
        reports: Mapping[SpoolId, Report] = _NO_REPORTS,
    ) -> Sequence[Message]:
        """Record stored `messages` as received and queue them; those that were queued.

        `reports` are those in the messages that are to be logged. Not to be
        cancelled: the messages are ours by now.
        """
        entered: list[Message] = []
        failure: Exception | None = None
        for message, name in zip(messages, names, strict=True):
            received = self._record(RecordType.RECEPTION, message, name, _RECEIVED, peer, session_id)
            if reports and message.id in reports:
                await self._record_report(received, reports[message.id])
            else:
                await self.recorder.record(received)
            if name == NULL_QUEUE:
                message.release_body()
            try:
                if name != NULL_QUEUE:
                    await self.queue.insert(message)
            except CancelledError:
                log.warn("queueing {id} was cut short; it is on disk", id=message.id.hex())
                raise
            except Exception as error:
                log.error("cannot queue {id} in {queue}: {error}", id=message.id.hex(), queue=name, error=error)
                failure = error
                await self._bounce(message, name, error, peer, session_id)
            else:
                entered.append(message)
        if failure is not None and not entered:
            raise failure
        return entered

    async def _record_report(self, received: Record, report: Report) -> None:
        """The Reception record, or Feedback in its place, and an OOB record for each recipient that failed."""
        if report.feedback is not None:
            received.type, received.feedback_report = RecordType.FEEDBACK, report.feedback
            received.way = await self._way(origin_of_complaint(report.feedback), event_of_complaint(report.feedback))
        await self.recorder.record(received)
        bounce = report.bounce
        if bounce is None:
            return
        addr = received.peer.addr if received.peer is not None else "0.0.0.0"  # as KumoMTA says it
        origin = origin_of(bounce.original)
        for failed in bounce.failed:
            await self.recorder.record(
                Record(
                    type=RecordType.OOB,
                    event_time=failed.last_attempt if failed.last_attempt is not None else received.event_time,
                    response=failed.response,
                    message=received.message,
                    # The report went to the sender of the message that it is about.
                    sender=received.recipients[0],
                    recipients=(failed.recipient,),
                    queue=received.queue,
                    peer=Peer(bounce.reporting_mta, addr, ""),
                    reception_protocol=received.reception_protocol,
                    session_id=received.session_id,
                    way=await self._way(origin, event_of_bounce(failed)),
                )
            )

    async def _way(self, origin: Origin, event: ReceiptEvent) -> Way | None:
        return await self.reports.hear(origin, event) if self.reports is not None else None

    async def inject(self, message: Message) -> None:
        """Store and queue a message of the house's own, without a Reception record.

        Raises Overload, SpoolUnhealthy, SpoolFull, PolicyError, ResolveError.
        """
        messages = (message,)
        names = await self.resolve(messages)
        await self.save(messages, names)
        if names[0] == NULL_QUEUE:
            return
        try:
            await self.queue.insert(message)
        except Exception:
            self.store.remove(message.id)
            raise

    async def _bounce(
        self, message: Message, name: str, error: Exception, peer: Peer | None, session_id: str | None
    ) -> None:
        response = internal(500, f"QueueManager::insert failed during reception: {error}")
        await self.recorder.record(self._record(RecordType.BOUNCE, message, name, response, peer, session_id))
        self.store.remove(message.id)
        message.release_body()

    def forget(self, messages: Sequence[Message]) -> None:
        """Take back what was saved and not entered; reaches the disk with the next commit."""
        for message in messages:
            self.store.remove(message.id)

    def _record(
        self,
        kind: RecordType,
        message: Message,
        name: str,
        response: Response,
        peer: Peer | None,
        session_id: str | None,
    ) -> Record:
        protocol = message.meta.get("reception_protocol")
        return Record(
            type=kind,
            event_time=self.clock.seconds(),
            response=response,
            message=message,
            sender=message.sender.email,
            recipients=tuple([recipient.email for recipient in message.recipients]),
            queue=name,
            size=message.size,
            attempts=message.attempts,
            peer=peer,
            reception_protocol=protocol if isinstance(protocol, str) else None,
            session_id=session_id,
        )


def _queue_name(message: Message) -> str:
    try:
        return message.queue_name()
    except ValueError as error:
        raise PolicyError(str(error)) from error

"""Hand-overs as they happen: what every Delivery record of a channel with receipts adds to the ledger.

It stands on the way of every message that goes out through an API or an SMS
centre, so a record costs some microseconds here: its facts are packed and put
on a list, and the list goes to the state file a few times a second.

Public: `Handovers`. What can go wrong: a state file that cannot be written.
What was to be noted is then lost, counted and told in the diagnostic log; a
receipt for it can still be matched by our own id, or is written without
the facts of its message. Mail is not held up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kumotwist.core.errors import KumotwistError
from kumotwist.core.json import JsonObject
from kumotwist.core.records import Record
from kumotwist.core.stats import Sample
from kumotwist.net.clock import Clock, DelayedCall
from kumotwist.net.sqlite import SqliteFile
from kumotwist.net.tasks import Tasks
from kumotwist.records.receipts.tables import Facts, Handover, add_handovers, encode_facts

log: Final = Logger()

#: Seconds that a hand-over waits for company. Ours: a receipt hardly ever comes sooner, and one that
#: does waits for its message.
FLUSH_DELAY: Final = 0.2
#: Hand-overs that go at once: a transaction of some ten milliseconds.
FLUSH_COUNT: Final = 500
#: Octets of packed facts with all of a message's metadata; above it only what names the message's place goes along.
MAX_FACTS: Final = 4096
#: Channels that report nothing later: their messages would only push out those that a receipt may come for.
SILENT: Final = frozenset(
    ("webhook", "fcm", "apns", "webpush", "slack", "teams", "discord", "telegram", "graph", "gmail")
)
#: Metadata that is kept in any case.
_PLACE: Final = ("tenant", "campaign", "queue", "routing_domain")


@define(eq=False)
class Handovers:
    """Takes note of hand-overs, in batches."""

    _file: SqliteFile
    _clock: Clock
    #: Called when receipts were there before the hand-over.
    _overtaken: Callable[[], object]
    _tasks: Tasks = field(factory=Tasks, init=False)
    _waiting: list[Handover] = field(factory=list, init=False)
    _call: DelayedCall | None = field(default=None, init=False)
    _last: Deferred[None] | None = field(default=None, init=False)
    _noted: int = field(default=0, init=False)
    _lost: int = field(default=0, init=False)

    def note(self, record: Record) -> None:
        """Note the hand-over that `record` tells of, if it is one that a receipt can refer to. Never raises."""
        message, peer = record.message, record.peer
        channel = peer.channel if peer is not None else None
        if message is None or channel in SILENT or (channel is None and not record.remote_id):
            return
        channel = channel or record.delivery_protocol or ""
        account = (peer.account if peer is not None else None) or ""
        # A provider without ids of its own (Kannel) gives ours back.
        remote_ids = tuple((record.remote_id or message.id.hex()).split())
        try:
            facts = _facts(record)
        except (TypeError, ValueError, OverflowError) as error:
            self._lost += 1
            log.error("the hand-over of {id} was not noted: {error}", id=message.id.hex(), error=error)
            return
        self._waiting.append(Handover(channel, account, remote_ids, message.id, record.event_time, facts))
        if len(self._waiting) >= FLUSH_COUNT:
            self.flush()
        elif self._call is None:
            self._call = self._clock.callLater(FLUSH_DELAY, self.flush)

    def flush(self) -> None:
        """Send what waits to the state file now."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._last = self._tasks.spawn("hand-overs", self._write(waiting))

    async def close(self) -> None:
        """Write what waits; the state file is closed after us."""
        self.flush()
        last, self._last = self._last, None
        if last is not None:
            # The file does its work in order: when this is done, so is all before it.
            await last
        await self._tasks.close()

    def samples(self) -> Iterable[Sample]:
        """How many were noted, and how many could not be."""
        yield Sample("total_handovers", self._noted)
        yield Sample("total_handovers_lost", self._lost)

    async def _write(self, handovers: list[Handover]) -> None:
        now = self._clock.seconds()
        try:
            overtaken = await self._file.write(lambda connection: add_handovers(connection, handovers, now))
        except CancelledError:
            # The wait is over; the file finishes what it has.
            raise
        except KumotwistError as error:
            self._lost += len(handovers)
            log.error("{count} hand-overs were not noted: {error}", count=len(handovers), error=error)
            return
        self._noted += len(handovers)
        if overtaken:
            self._overtaken()


def _facts(record: Record) -> bytes:
    """What a receipt's record will tell about the message."""
    message = record.message
    meta: JsonObject = message.meta if message is not None else record.meta
    try:
        packed = _pack(record, meta)
    except (TypeError, ValueError, OverflowError):
        # A policy's 70-bit integer, say.
        packed = b""
    if not packed or len(packed) > MAX_FACTS:
        packed = _pack(record, {name: meta[name] for name in _PLACE if isinstance(meta.get(name), str)})
    return packed


def _pack(record: Record, meta: JsonObject) -> bytes:
    peer = record.peer
    return encode_facts(
        Facts(
            record.sender,
            record.recipients,
            record.queue,
            record.site,
            record.egress_pool,
            record.egress_source,
            record.provider_name,
            record.reception_protocol,
            record.delivery_protocol,
            record.attempts,
            record.size,
            peer.name if peer is not None else "",
            peer.addr if peer is not None else "",
            record.remote_id or "",
            record.parts,
            meta,
            (record.way.table, record.way.route, record.way.name) if record.way is not None else None,
        )
    )

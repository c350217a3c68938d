"""One worker: the page on which all parts are made and handed to each other.

Order matters twice. At the start: policy first, since it declares the rest;
then the sockets, so that a port that cannot be had ends the start before the
spool is touched; then spool, logs and queue, and the ways in last. At the
stop: the ways in first, then what is on the wire, then logs and spool.

`start` names its steps, and below it they stand in their order. Each enters in
`closing` how the parts that it has made are closed; the stop goes backwards.
How a part is made is told in `service.assembly`.

Public: `Worker`. `start` raises ConfigError and PolicyError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from kumotwist.config.queue import GeneratorProtocol, Protocol
from kumotwist.core.errors import SpoolUnhealthy
from kumotwist.core.interfaces import Channel
from kumotwist.core.receipt import ReceiptEvent
from kumotwist.core.records import Record
from kumotwist.core.way import Way
from kumotwist.intake.inject.route import inject_route
from kumotwist.intake.receipts import ReceiptIntake
from kumotwist.intake.send import idempotency
from kumotwist.intake.sns import SnsGate, fetcher
from kumotwist.net.http import HttpTransports
from kumotwist.net.router import Route
from kumotwist.net.sqlite import SqliteFile
from kumotwist.records.acct import open_acct_log
from kumotwist.records.metrics import Metrics
from kumotwist.records.volume import FLUSH_INTERVAL
from kumotwist.service import lifecycle, suspects
from kumotwist.service.assembly.books import Books, make_receipts, make_volumes, open_records
from kumotwist.service.assembly.closing import Closing
from kumotwist.service.assembly.entrances import Entrances, make_entrances
from kumotwist.service.assembly.ground import Ground
from kumotwist.service.assembly.operation import Answer, answers, open_search, operator_routes
from kumotwist.service.assembly.sockets import Sockets
from kumotwist.service.assembly.state import open_state
from kumotwist.service.assembly.storage import Storage, open_storage
from kumotwist.service.assembly.thought import PolicyMeans, Thought, load_policy, make_means
from kumotwist.service.assembly.ways_in import WaysIn, make_ways_in
from kumotwist.service.assembly.ways_out import WaysOut, make_channels, make_queue
from kumotwist.service.gate import POLL_INTERVAL
from kumotwist.service.house import House
from kumotwist.service.latestore import LateStore
from kumotwist.service.options import Settings
from kumotwist.service.redislimits import RedisDesk
from kumotwist.service.vitals import Vitals
from kumotwist.service.witness import Note, take_over
from kumotwist.spool.rocks import RocksStore
from kumotwist.spool.shards import shards_of

log: Final = Logger()

#: Seconds between two returns of unused shares of machine-wide limits.
SWEEP_INTERVAL: Final = 1.0


class Worker:
    """Makes the parts, in order, and takes them down again."""

    # What the steps of the start make, where parts of an earlier step call those of a later one: they get a function
    # that looks here when it is called.
    _thought: Thought
    _storage: Storage | None = None
    _books: Books
    _ways_out: WaysOut
    _ways_in: WaysIn

    def __init__(self, settings: Settings, house: House, reactor: Any, set_log_filter: Callable[[str], object]) -> None:
        """`reactor` is Twisted's; `set_log_filter` changes what the diagnostic log shows."""
        self._ground = Ground(settings, house, reactor)
        self._set_log_filter = set_log_filter
        self._closing = Closing(reactor)
        self._metrics = Metrics(())
        self._bump_epoch: Callable[[], object] = lambda: None
        self._answers: dict[str, Answer] = {}

    async def start(self) -> None:
        """Make everything; returns when messages are taken."""
        means = await self._load_policy()
        await self._share_limits()
        sockets, notes = await self._bind(means)
        state = await self._open_state()
        storage = await self._open_storage(means)
        await self._open_books(means, storage, state)
        await self._make_ways_out(storage, state, notes)
        await self._make_ways_in(storage, state)
        receipts, entrances = await self._make_entrances(storage)

        vitals = Vitals()
        self._measure(storage, receipts, entrances, vitals)
        self._go(sockets, entrances)
        self._watch(storage, vitals)
        self._begin_what_is_declared()
        await self._ground.house.ready()

    async def stop(self) -> None:
        """Take everything down, the last made first; each step even if another fails."""
        await self._closing.close()

    def snapshot(self) -> bytes:
        """Our numbers."""
        return self._metrics.snapshot()

    def bump_epoch(self) -> None:
        """Read the policy anew."""
        self._bump_epoch()

    async def answer(self, topic: str, question: bytes) -> bytes:
        """Answer a question that is put to all workers; nothing while we start."""
        answer = self._answers.get(topic)
        return await answer(question) if answer is not None else b""

    # -- the steps of the start -------------------------------------------------------------------

    async def _load_policy(self) -> PolicyMeans:
        means = make_means(self._ground, lambda: self._thought.policy)
        self._closing.enter("the policy's libraries", means.libraries.close)
        self._closing.enter("the key sources", means.keys.close)
        store = LateStore(lambda: self._storage.store if self._storage is not None else None)
        self._thought = await load_policy(
            self._ground, means, store, lambda: self._ways_in.admission, self._set_log_filter
        )
        await self._thought.policy.pre_init()
        await self._thought.policy.init()
        return means

    async def _share_limits(self) -> None:
        """With other machines, if policy says so; a server that is away is no reason not to start."""
        options = self._thought.policy.declarations.redis
        if options is None:
            return
        # Not at the top: txredisapi takes hold of the reactor, which `service.reactor` has to choose first.
        from kumotwist.net.redis import Redis

        server = Redis(options, self._ground.reactor)
        self._closing.enter("Redis", server.close)
        self._ground.limits.share(RedisDesk(server, self._ground.house.limits, self._ground.tasks))
        if not await server.connected():
            log.warn("Redis at {server} does not answer; it is tried on", server=server.server)

    async def _bind(self, means: PolicyMeans) -> tuple[Sockets, Sequence[Note]]:
        """The sockets, and what the processes before us ended with."""
        house = self._ground.house
        sockets = await Sockets.open(house, self._thought.policy.declarations)
        house.drop_privileges()
        return sockets, take_over(means.witness, self._ground.state_dir, house.index, house.count)

    async def _open_state(self) -> SqliteFile:
        state = await open_state(self._ground)
        self._closing.enter("the state file", state.close)
        return state

    async def _open_storage(self, means: PolicyMeans) -> Storage:
        self._storage = await open_storage(self._ground, self._thought.policy.declarations, means.acct_logs)
        self._closing.enter("the spool", self._storage.store.close)
        return self._storage

    async def _open_books(self, means: PolicyMeans, storage: Storage, state: SqliteFile) -> None:
        ground, policy, closing = self._ground, self._thought.policy, self._closing
        receipts = make_receipts(ground, policy, state, self._record_receipt, self._note_return)
        volumes = make_volumes(ground, policy)
        records = open_records(ground, policy, storage.store, receipts, volumes, lambda: self._ways_in.admission)
        if volumes is not None:
            closing.enter("the accounting database", volumes.flush)
            closing.every(FLUSH_INTERVAL, volumes.flush)
        closing.enter("the logs", records.close)
        closing.enter("the receipts", receipts.desk.close)
        closing.enter("the messages that wait for receipts", receipts.awaited.close)
        closing.enter("the reports by mail", receipts.returns.close)
        auditor = open_acct_log(means.acct_logs, ground.reactor)
        closing.enter("the accounting log", auditor.close)
        closing.enter("the policy's own logs", policy.shutdown_logging)
        closing.enter("background work", ground.tasks.close)
        self._books = Books(receipts, records, auditor)

    async def _make_ways_out(self, storage: Storage, state: SqliteFile, notes: Sequence[Note]) -> None:
        ground, thought, books = self._ground, self._thought, self._books
        transports = HttpTransports(ground.reactor)
        channels = make_channels(ground, thought, books, transports, lambda: self._ways_in.gate)
        self._closing.enter("the channels", channels.close)
        charged = await suspects.charge(state, notes, ground.reactor.seconds())
        queue = make_queue(ground, thought, storage.store, state, books, self._channel_for, charged)
        self._ways_out = WaysOut(queue, channels, transports)

    async def _make_ways_in(self, storage: Storage, state: SqliteFile) -> None:
        ground, policy, house = self._ground, self._thought.policy, self._ground.house
        self._ways_in = make_ways_in(ground, policy, storage, state, self._books, self._ways_out.queue)
        await self._ways_in.requests.settle(shards_of(house.index, house.count), storage.store)

    async def _make_entrances(self, storage: Storage) -> tuple[ReceiptIntake, Entrances]:
        """The APIs and listeners, and where receipts come in over HTTP."""
        ground, policy, keys = self._ground, self._thought.policy, self._thought.keys
        queue, desk = self._ways_out.queue, self._books.receipts.desk
        search = open_search(ground)
        self._closing.enter("searches of the logs", search.close)
        self._answers = answers(ground, policy, storage.store, queue, self._channel_for)
        routes: tuple[Route, ...] = (
            inject_route(self._ways_in.injection),
            *operator_routes(ground, policy, self._ways_in.gate, queue, self._channel_for, desk, search),
        )
        receipts = ReceiptIntake(desk, keys, SnsGate(fetcher(self._ways_out.transports)), ground.reactor)
        entrances = await make_entrances(ground, self._thought, self._books, self._ways_in, receipts, routes)
        return receipts, entrances

    def _measure(self, storage: Storage, receipts: ReceiptIntake, entrances: Entrances, vitals: Vitals) -> None:
        """From now on our numbers are those of all parts."""
        books, out = self._books, self._ways_out
        self._metrics = Metrics(
            (
                self._thought.policy,
                storage.store,
                books.records,
                books.auditor,
                books.receipts.desk,
                books.receipts.returns,
                receipts,
                out.queue,
                out.channels,
                self._ways_in.gate,
                vitals,
                *entrances.smtp,
                *entrances.http,
            )
        )

    def _go(self, sockets: Sockets, entrances: Entrances) -> None:
        """All is made: take messages."""
        self._bump_epoch = self._thought.policy.bump_epoch
        self._books.receipts.desk.start()
        self._ways_out.queue.start()
        self._ways_in.gate.open()
        ports = entrances.open(self._ground, sockets)
        self._closing.enter("the ways in and out", lambda: self._drain(ports, entrances))

    def _watch(self, storage: Storage, vitals: Vitals) -> None:
        """What is looked at now and then."""
        ground, every, requests = self._ground, self._closing.every, self._ways_in.requests
        every(POLL_INTERVAL, lambda: self._tend(storage.store))
        every(POLL_INTERVAL, self._ways_in.gate.poll)
        every(POLL_INTERVAL, vitals.poll)
        every(SWEEP_INTERVAL, ground.house.sweep)
        every(SWEEP_INTERVAL, ground.limits.sweep)
        sweep = idempotency.SWEEP_INTERVAL
        every(sweep, lambda: ground.tasks.spawn("sweep of idempotency keys", requests.sweep()))
        self._thought.policy.watch()

    def _begin_what_is_declared(self) -> None:
        """Tasks and receivers, of which there is one for the whole machine."""
        policy = self._thought.policy
        if self._ground.house.index == 0:
            for task in policy.declarations.tasks:
                policy.start_task(task)
            for receiver in policy.declarations.smpp_receivers:
                self._ways_out.channels.receive(receiver)

    # -- what parts of earlier steps call ---------------------------------------------------------

    async def _record_receipt(self, record: Record) -> None:
        if record.way is not None and record.receipt is not None:
            self._ways_out.queue.note_receipt(record.way, record.receipt, record.handed_over)
        await self._books.records.record(record)

    def _note_return(self, way: Way, event: ReceiptEvent, handed_over: float) -> None:
        self._ways_out.queue.note_receipt(way, event, handed_over)

    def _channel_for(self, protocol: Protocol) -> Channel:
        if isinstance(protocol, GeneratorProtocol):
            return self._ways_in.generator
        return self._ways_out.channels.channel_for(protocol)

    # -- while it runs, and at the end ------------------------------------------------------------

    def _tend(self, store: RocksStore) -> None:
        """A full disk that has room again is written to again; a spool that cannot be read ends the process."""
        try:
            store.tend()
        except SpoolUnhealthy as error:
            log.critical("{error}; this process ends", error=error)
            lifecycle.exit_with(1)
            self._ground.reactor.callLater(0, self._ground.reactor.stop)

    async def _drain(self, ports: Sequence[Any], entrances: Entrances) -> None:
        """Accept no more, finish what is on the wire, in and out, within the bound."""
        within = self._ground.settings.shutdown_timeout
        self._ways_in.gate.shut()
        await DeferredList([Deferred.fromCoroutine(_stop_port(port)) for port in ports], consumeErrors=True)
        ways = [*entrances.stop(within), Deferred.fromCoroutine(self._ways_out.queue.stop(within))]
        for is_ok, problem in await DeferredList(ways, consumeErrors=True):
            if not is_ok:
                log.failure("a way in or out did not stop cleanly", problem)


async def _stop_port(port: Any) -> None:
    await port.stopListening()

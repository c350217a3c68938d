"""One worker: the page on which all parts are made and handed to each other.

Order matters twice. At the start: policy first, since it declares the rest;
then the sockets, so that a port that cannot be had ends the start before the
spool is touched; then spool, logs and queue, and the ways in last. At the
stop: the ways in first, then what is on the wire, then logs and spool.

Over 400 lines, most of them one function: in which order the parts are made is the point, and it is read from the top.

Public: `Worker`. `start` raises ConfigError and PolicyError.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from kumotwist.admin import explain, liveness, message, metrics
from kumotwist.admin.explanation import Told
from kumotwist.admin.explanation import explain as explain_message
from kumotwist.admin.openapi import with_document
from kumotwist.admin.queued import explain_queued
from kumotwist.config.listener import HttpListenerConfig
from kumotwist.config.queue import GeneratorProtocol, Protocol
from kumotwist.config.records import AcctLogConfig, LocalLogConfig
from kumotwist.config.redis import RedisOptions
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.errors import ConfigError, SpoolUnhealthy
from kumotwist.core.ids import IdGenerator, SpoolId
from kumotwist.core.interfaces import Channel, MessageStore, QueuePolicy, Room
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.records import Record
from kumotwist.egress.registry import Channels
from kumotwist.intake.admission import Admission
from kumotwist.intake.http.site import build_site
from kumotwist.intake.http.tls import with_tls
from kumotwist.intake.inject.generator import GeneratorChannel, InternalQueues
from kumotwist.intake.inject.injection import Injection
from kumotwist.intake.inject.route import inject_route
from kumotwist.intake.receipts import ReceiptIntake
from kumotwist.intake.send import idempotency
from kumotwist.intake.send.route import send_route
from kumotwist.intake.send.sending import Sending
from kumotwist.intake.sms import SmsIntake
from kumotwist.intake.smtp.factory import SmtpFactory
from kumotwist.intake.smtp.slots import ConnectionSlots
from kumotwist.intake.sns import SnsGate, fetcher
from kumotwist.lua.declare import Declarations
from kumotwist.lua.lib.catalog import Services, standard_libraries
from kumotwist.lua.policy import Policy, PolicyServices
from kumotwist.lua.redact import Redactor
from kumotwist.net.blocking import BlockingThreads
from kumotwist.net.clock import sleep
from kumotwist.net.dns import CachingResolver, system_client
from kumotwist.net.dnsswitch import ConfigurableResolver
from kumotwist.net.http import HttpTransports
from kumotwist.net.httpserver import HttpSite
from kumotwist.net.mx import mail_hosts
from kumotwist.net.sqlite import SqliteFile
from kumotwist.net.tasks import Tasks
from kumotwist.net.tls import ServerTls
from kumotwist.queue import announcer, budgetstate, routestate
from kumotwist.queue.announcer import Announcer
from kumotwist.queue.budgetstate import BudgetState
from kumotwist.queue.manager import Manager
from kumotwist.queue.present import Present
from kumotwist.queue.routestate import RouteState
from kumotwist.queue.surroundings import Knowledge, Surroundings
from kumotwist.records.acct import open_acct_log
from kumotwist.records.metrics import Metrics, merge
from kumotwist.records.nodeid import node_id
from kumotwist.records.receipts import tables as receipt_tables
from kumotwist.records.receipts.awaited import Awaited
from kumotwist.records.receipts.desk import ReceiptDesk
from kumotwist.records.recorder import RecordLog
from kumotwist.records.search import LogSearch
from kumotwist.records.volume import FLUSH_INTERVAL, VolumeBook
from kumotwist.secrets.store import KeyStore
from kumotwist.service import lifecycle, listeners, suspects
from kumotwist.service.diskspace import Disk, DiskSpace, MinFree
from kumotwist.service.gate import POLL_INTERVAL, Gate, memory_limit
from kumotwist.service.house import House
from kumotwist.service.latestore import LateStore
from kumotwist.service.options import Settings
from kumotwist.service.redislimits import RedisDesk, SharedLimits
from kumotwist.service.vitals import Vitals
from kumotwist.service.witness import Note, Witness, read_notes
from kumotwist.spool.rocks import RocksStore
from kumotwist.spool.shards import SpoolInUse, shards_of

log: Final = Logger()

#: Questions that all workers are asked: what they have of a message, and what would become of it.
MESSAGE: Final = "message"
EXPLAIN: Final = "explain"
#: Searches of the logs at a time, and how many may wait. Ours: they are for people.
SEARCHES: Final = 1
MAX_SEARCHES: Final = 16
#: The file in the state directory that workers share.
STATE_FILE: Final = "state.sqlite"
#: Seconds between two returns of unused shares of machine-wide limits.
SWEEP_INTERVAL: Final = 1.0
#: Seconds that a claim of the spool's shards is tried again: a predecessor that drains still holds them.
CLAIM_PATIENCE: Final = 20.0
#: Seconds between two tries.
CLAIM_PAUSE: Final = 0.25


class Worker:
    """Builds the parts, in order, and takes them down again."""

    def __init__(self, settings: Settings, house: House, reactor: Any, set_log_filter: Callable[[str], object]) -> None:
        """`reactor` is Twisted's; `set_log_filter` changes what the diagnostic log shows."""
        self._settings = settings
        self._house = house
        self._reactor = reactor
        self._set_log_filter = set_log_filter
        self._closing: list[tuple[str, Callable[[], Awaitable[object]]]] = []
        self._metrics = Metrics(())
        self._bump_epoch: Callable[[], object] = lambda: None
        self._answers: dict[str, Callable[[bytes], Awaitable[bytes]]] = {}

    async def start(self) -> None:
        """Build everything; returns when messages are taken. Longer than we like, but one page."""
        settings, house, reactor = self._settings, self._house, self._reactor
        hostname, ids, tasks = socket.gethostname(), IdGenerator(reactor.seconds), Tasks()
        store: RocksStore | None = None
        acct_logs: list[AcctLogConfig] = []

        # Policy and what it may call. Parts that are made further down are looked up when policy calls them.
        state_dir = Path(settings.state_dir)
        witness, redactor = Witness(), Redactor()
        resolver = ConfigurableResolver(CachingResolver(system_client(reactor), reactor))
        limits = SharedLimits(house.limits, reactor)
        keys = KeyStore(reactor, tasks, os.environ, lambda name, args: policy.run_key_event(name, args))
        libraries = Services(
            reactor=reactor,
            tasks=tasks,
            keys=keys,
            limits=limits,
            resolver=resolver,
            ids=ids,
            epoch=lambda: policy.epoch,
            declare_acct_log=acct_logs.append,
            redactor=redactor,
        )
        self._close_last("the policy's libraries", libraries.close)
        self._close_last("the key sources", keys.close)
        policy = await Policy.load(
            Path(settings.policy),
            PolicyServices(
                store=LateStore(lambda: store),
                injector=lambda: admission,
                ids=ids,
                clock=reactor,
                tasks=tasks,
                libraries=standard_libraries(libraries),
                bump_epoch=house.spread_epoch,
                set_log_filter=self._set_log_filter,
                witness=witness,
                redactor=redactor,
            ),
        )
        await policy.pre_init()
        await policy.init()
        declared = policy.declarations
        if declared.redis is not None:
            await self._share(limits, declared.redis, tasks)
        smtp_sockets = [
            await house.listening_socket("smtp", number, config.listen)
            for number, config in enumerate(declared.esmtp_listeners)
        ]
        http_sockets = [
            await house.listening_socket(_scheme(config), number, config.listen)
            for number, config in enumerate(declared.http_listeners)
        ]
        house.drop_privileges()
        notes = self._open_witness(witness, state_dir)

        # What workers share, spool and logs.
        schema = (
            *receipt_tables.SCHEMA,
            *idempotency.SCHEMA,
            *suspects.SCHEMA,
            *routestate.SCHEMA,
            *budgetstate.SCHEMA,
            *announcer.SCHEMA,
        )
        state = await SqliteFile.open(state_dir / STATE_FILE, reactor, schema)
        self._close_last("the state file", state.close)

        async def record_receipt(record: Record) -> None:
            if record.way is not None and record.receipt is not None:
                queue.note_receipt(record.way, record.receipt, record.handed_over)
            await recorder.record(record)

        desk = ReceiptDesk(state, declared.receipts, reactor, record_receipt)
        awaited = Awaited(state, house.index, reactor)
        # What is written and not yet in tables is owed to the disk: asked when there is a store.
        disks = _disks(settings, declared, acct_logs, lambda: store.owed() * house.count if store else 0)
        space = DiskSpace(disks, house.count, lambda: store.make_room() if store else None)
        store = opened = await self._open_store(_spool_directory(settings, declared), space)
        self._close_last("the spool", opened.close)
        book = VolumeBook(Path(declared.accounting_db_path), reactor) if declared.accounting_db_path else None
        recorder = RecordLog.open(
            logs=declared.local_logs,
            hooks=declared.log_hooks,
            policy=policy,
            inject=lambda message: admission.inject(message),
            load_body=opened.load_body,
            new_id=ids,
            nodeid=node_id(state_dir, os.environ),
            reactor=reactor,
            note_handover=desk.handovers.note,
            account=book.count if book is not None else lambda _: None,
            classify=declared.classify,
        )
        if book is not None:
            self._close_last("the accounting database", book.flush)
            self._every(FLUSH_INTERVAL, book.flush)
        self._close_last("the logs", recorder.close)
        self._close_last("the receipts", desk.close)
        self._close_last("the messages that wait for receipts", awaited.close)
        auditor = open_acct_log(acct_logs, reactor)
        self._close_last("the accounting log", auditor.close)
        self._close_last("the policy's own logs", policy.shutdown_logging)
        self._close_last("background work", tasks.close)

        # The way out.
        sms = SmsIntake(policy, recorder, lambda: gate, ids, reactor)
        transports = HttpTransports(reactor)
        channels = Channels(resolver, keys, policy, reactor, reactor, hostname, transports, receipts=desk, sms=sms)
        self._close_last("the channels", channels.close)

        def channel_for(protocol: Protocol) -> Channel:
            return generator if isinstance(protocol, GeneratorProtocol) else channels.channel_for(protocol)

        charged = await suspects.charge(state, notes, reactor.seconds())
        queue = Manager(
            Surroundings(
                store=opened,
                policy=InternalQueues(policy),
                recorder=recorder,
                limits=limits,
                channel_for=channel_for,
                clock=reactor,
                tasks=tasks,
            ),
            Knowledge(
                route_state=RouteState(state, house.index, reactor),
                mail_hosts=partial(mail_hosts, resolver),
                heard_of=desk.heard_of,
                watch=awaited,
                budgets=BudgetState(state, reactor),
                announcer=Announcer(state, house.index, reactor) if house.count > 1 else None,
            ),
            suspects=charged,
        )

        # The ways in.
        gate = Gate(memory_limit() // house.count, space, lambda: opened.is_healthy)
        admission = Admission(opened, recorder, queue, reactor, space)
        injection = Injection(policy, admission, gate, ids, reactor, hostname, can_defer=True)
        generator = GeneratorChannel(injection)
        shards = shards_of(house.index, house.count)
        requests = idempotency.Keys(state, shards[0], reactor)
        await requests.settle(shards, opened)
        sending = Sending(policy, admission, gate, ids, reactor, hostname)
        search = BlockingThreads(reactor, "kumo-search", SEARCHES, MAX_SEARCHES)
        self._close_last("searches of the logs", search.close)
        self._answers[EXPLAIN] = partial(
            _explained, opened, (policy, InternalQueues(policy)), channel_for, reactor.seconds, queue.present
        )
        self._answers[MESSAGE] = lambda spool_id: _described(opened, SpoolId(spool_id))
        sources = message.Sources(
            live=self._living,
            records=LogSearch.of(declared.local_logs, search).records_of,
            ledger=desk.story_of,
        )

        async def tell(
            sender: EnvelopeAddress, recipients: tuple[EnvelopeAddress, ...], question: explain.Question
        ) -> Told:
            asked = Message(ids(), sender, recipients, dict(question.meta), question.content.encode())
            present = queue.present()
            return await explain_message(asked, policy, channel_for, reactor.seconds(), question.intake, present)

        routes = (
            inject_route(injection),
            *liveness.routes(gate),
            *metrics.routes(self._text, self._json),
            *message.routes(sources),
            *explain.routes(tell, lambda spool_id: house.ask(EXPLAIN, spool_id)),
        )
        smtp = [
            SmtpFactory(
                config,
                policy,
                admission,
                recorder,
                gate,
                keys,
                ids,
                reactor,
                hostname,
                slots=ConnectionSlots(
                    house.limits,
                    f"esmtp-listener-{number}",
                    lifecycle.affordable_connections(config.max_connections, house.count),
                    house.count,
                ),
                auditor=auditor,
            )
            for number, config in enumerate(declared.esmtp_listeners)
        ]
        receipts = ReceiptIntake(desk, keys, SnsGate(fetcher(transports)), reactor)
        http = [
            build_site(
                config,
                policy,
                reactor,
                with_document(
                    (
                        *routes,
                        send_route(sending, requests, config.default_region),
                        *receipts.routes(config.receipts, config.use_tls),
                    )
                ),
                auditor=auditor,
            )
            for config in declared.http_listeners
        ]
        behind_tls = [
            await with_tls(site, config, ServerTls(keys, reactor), tasks, config.hostname or hostname)
            if config.use_tls
            else site
            for site, config in zip(http, declared.http_listeners, strict=True)
        ]

        for factory in smtp:
            tasks.spawn("loading a listener's certificate", factory.listener.load_certificate())

        # All is made: go.
        vitals = Vitals()
        self._metrics = Metrics(
            (policy, opened, recorder, auditor, desk, receipts, queue, channels, gate, vitals, *smtp, *http)
        )
        self._bump_epoch = policy.bump_epoch
        desk.start()
        queue.start()
        gate.open()
        ports = [
            listeners.adopt(reactor, sock, factory, house.seat)
            for sock, factory in zip((*smtp_sockets, *http_sockets), (*smtp, *behind_tls), strict=True)
        ]
        self._close_last("the ways in and out", lambda: self._drain(gate, ports, smtp, http, queue))
        self._every(POLL_INTERVAL, lambda: self._tend(opened))
        self._every(POLL_INTERVAL, gate.poll)
        self._every(POLL_INTERVAL, vitals.poll)
        self._every(SWEEP_INTERVAL, house.sweep)
        self._every(SWEEP_INTERVAL, limits.sweep)
        self._every(idempotency.SWEEP_INTERVAL, lambda: tasks.spawn("sweep of idempotency keys", requests.sweep()))
        policy.watch()
        if house.index == 0:
            for task in declared.tasks:
                policy.start_task(task)
            for receiver in declared.smpp_receivers:
                channels.receive(receiver)
        await house.ready()

    async def stop(self) -> None:
        """Take everything down, the last made first; each step even if another fails."""
        while self._closing:
            what, close = self._closing.pop()
            try:
                await close()
            except Exception:
                log.failure("{what} did not close cleanly", what=what)
                lifecycle.exit_with(1)

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

    # -- steps --------------------------------------------------------------------------------------

    async def _share(self, limits: SharedLimits, options: RedisOptions, tasks: Tasks) -> None:
        """Share limits with other machines; a server that is away is no reason not to start. Raises ConfigError."""
        # Not at the top: txredisapi takes hold of the reactor, which `service.reactor` has to choose first.
        from kumotwist.net.redis import Redis

        server = Redis(options, self._reactor)
        self._close_last("Redis", server.close)
        desk = RedisDesk(server, self._house.limits, tasks)
        limits.share(desk)
        if not await server.connected():
            log.warn("Redis at {server} does not answer; it is tried on", server=server.server)

    def _open_witness(self, witness: Witness, directory: Path) -> list[Note]:
        """What the process before us ended with; from now on our own end is witnessed. Raises ConfigError."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            notes = read_notes(directory, self._house.index, self._house.count)
            witness.open(directory, self._house.index)
        except OSError as error:
            raise ConfigError(f"--state-dir {directory}: {error.strerror}") from error
        return notes

    async def _open_store(self, directory: Path, room: Room) -> RocksStore:
        """Claim our shards and open them; waits for a predecessor that is about to leave."""
        shards = shards_of(self._house.index, self._house.count)
        deadline = self._reactor.seconds() + CLAIM_PATIENCE
        is_said = False
        while True:
            try:
                return RocksStore.open(directory, shards, self._reactor, room)
            except SpoolInUse as error:
                if self._reactor.seconds() > deadline:
                    raise
                if not is_said:
                    log.warn("{error}; waiting up to {seconds:.0f} s for it", error=error, seconds=CLAIM_PATIENCE)
                    is_said = True
            await sleep(self._reactor, CLAIM_PAUSE)

    def _tend(self, store: RocksStore) -> None:
        """A full disk that has room again is written to again; a spool that cannot be read ends the process."""
        try:
            store.tend()
        except SpoolUnhealthy as error:
            log.critical("{error}; this process ends", error=error)
            lifecycle.exit_with(1)
            self._reactor.callLater(0, self._reactor.stop)

    async def _drain(
        self, gate: Gate, ports: Iterable[Any], smtp: Iterable[SmtpFactory], http: Iterable[HttpSite], queue: Manager
    ) -> None:
        """Accept no more, finish what is on the wire, in and out, within the bound."""
        within = self._settings.shutdown_timeout
        gate.shut()
        await DeferredList([Deferred.fromCoroutine(_stop_port(port)) for port in ports], consumeErrors=True)
        ways: list[Deferred[Any]] = [factory.stop(within) for factory in smtp]
        ways += [Deferred.fromCoroutine(site.close()) for site in http]
        ways.append(Deferred.fromCoroutine(queue.stop(within)))
        for is_ok, problem in await DeferredList(ways, consumeErrors=True):
            if not is_ok:
                log.failure("a way in or out did not stop cleanly", problem)

    def _every(self, seconds: float, call: Callable[[], object]) -> None:
        loop = LoopingCall(call)
        loop.clock = self._reactor
        loop.start(seconds).addErrback(lambda failure: log.failure("a regular look failed", failure))

        async def stop() -> None:
            if loop.running:
                loop.stop()

        self._close_last("a regular look", stop)

    def _close_last(self, what: str, close: Callable[[], Awaitable[object]]) -> None:
        """Have `close` called at the stop, after all that is made later."""
        self._closing.append((what, close))

    async def _living(self, spool_id: SpoolId) -> list[JsonObject]:
        """What the workers have of a message."""
        answers = await self._house.ask(MESSAGE, spool_id)
        return [found for answer in answers if answer for found in msgspec.json.decode(answer)]

    async def _text(self) -> bytes:
        return merge(await self._house.collect()).text()

    async def _json(self) -> bytes:
        return merge(await self._house.collect()).json()


async def _described(store: MessageStore, spool_id: SpoolId) -> bytes:
    """What our spool has of a message, as a JSON list."""
    return msgspec.json.encode([message.describe(one) for one in await store.load((spool_id,)) if one is not None])


async def _explained(
    store: MessageStore,
    policies: tuple[Policy, QueuePolicy],
    channel_for: Callable[[Protocol], Channel],
    now: Callable[[], float],
    present: Callable[[], Present],
    spool_id: bytes,
) -> bytes:
    """What would become of a message of our spool, as JSON; nothing when it is not there."""
    told = await explain_queued(SpoolId(spool_id), store, policies, channel_for, now(), present())
    return msgspec.json.encode(told) if told is not None else b""


async def _stop_port(port: Any) -> None:
    await port.stopListening()


def _scheme(config: HttpListenerConfig) -> str:
    return "https" if config.use_tls else "http"


def _spool_directory(settings: Settings, declared: Declarations) -> Path:
    """Where the policy puts its `meta` spool; without one, under the state directory."""
    meta = declared.spools.get("meta")
    return Path(meta.path) if meta is not None else Path(settings.state_dir) / "spool"


def _disks(
    settings: Settings, declared: Declarations, acct_logs: Iterable[AcctLogConfig], owed: Callable[[], int]
) -> list[Disk]:
    """The file systems of mail, records and state, with the policy's own thresholds; the spool owes `owed()`."""
    logs: list[LocalLogConfig | AcctLogConfig] = [*declared.local_logs, *acct_logs]
    try:
        disks = [
            Disk(
                str(_spool_directory(settings, declared)),
                MinFree.parse(one.min_free_space),
                MinFree.parse(one.min_free_inodes),
                owed,
            )
            for one in declared.spools.values()
        ] or [Disk(str(_spool_directory(settings, declared)), owed=owed)]
        disks += [
            Disk(one.log_dir, MinFree.parse(one.min_free_space), MinFree.parse(one.min_free_inodes)) for one in logs
        ]
        # The state file grows with receipts and idempotency keys, and without it neither is taken.
        disks.append(Disk(settings.state_dir))
    except ValueError as error:
        raise ConfigError(f"min_free_space, min_free_inodes: {error}") from error
    return disks

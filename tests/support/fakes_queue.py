"""What the queue stands on, kept small: policy, channel and recorder that keep their contracts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kumotwist.config.egress import PathConfig, PoolConfig, SourceConfig
from kumotwist.config.queue import QueueConfig
from kumotwist.config.routes import RouteTableConfig
from kumotwist.core.address import parse_address
from kumotwist.core.errors import ConnectFailed, PolicyError, UnknownTable
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer, Scope, Verdict
from kumotwist.core.response import Response
from kumotwist.net.tasks import Tasks
from kumotwist.queue.classes import no_hosts
from kumotwist.queue.manager import Manager
from kumotwist.queue.surroundings import Knowledge, Surroundings
from kumotwist.queue.throttle import LocalLimits
from kumotwist.queue.watch import MemoryWatch
from kumotwist.spool.memory import MemoryStore

START = 1_800_000_000.0

PEER = Peer("mx.example", "192.0.2.1", "ESMTP", source_address="192.0.2.9:0", session_id="s1")
DELIVERED = Outcome(Verdict.DELIVERED, Response(250, "ok", None, "."), peer=PEER)
DEFERRED = Outcome(Verdict.TRANSIENT, Response.parse(451, "4.3.0 later", "."), peer=PEER)
REFUSED = Outcome(Verdict.PERMANENT, Response.parse(550, "5.1.1 no", "RCPT TO:<x@y>\r\n"), peer=PEER)
UNREACHABLE = ConnectFailed(
    Outcome(
        Verdict.TRANSIENT,
        Response(400, "KumoMTA internal: failed to connect to any candidate hosts: refused"),
        Scope.SESSION,
    )
)


class FakePolicy:
    """Policy as tables; a value that is an exception is raised, a coroutine function is called."""

    def __init__(self, config: QueueConfig | None = None, path: PathConfig | None = None) -> None:
        self.epoch = 1
        self.config: QueueConfig | Exception = config or QueueConfig()
        self.configs: dict[str, QueueConfig | Exception] = {}
        self.pools: dict[str, PoolConfig | Exception] = {}
        self.tables: dict[str, RouteTableConfig | Exception] = {}
        self.path: PathConfig | Exception = path or PathConfig()
        self.paths: dict[str, PathConfig] = {}
        self.calls: list[tuple] = []
        self.on_throttle: Callable[[Message], None] | None = None
        self.on_requeue: Callable[..., None] | None = None
        self.rewrite: dict[str, int] = {}
        self.gate: Deferred | None = None

    def asked(self, event: str) -> list[tuple]:
        return [call[1:] for call in self.calls if call[0] == event]

    async def queue_config(self, name):
        self.calls.append(("queue_config", name.text))
        if self.gate is not None:
            await self.gate
        return _given(self.configs.get(name.text, self.config))

    async def egress_pool(self, name):
        self.calls.append(("egress_pool", name))
        if name not in self.pools:
            raise PolicyError(f"no pool {name}")
        return _given(self.pools[name])

    async def egress_source(self, name):
        self.calls.append(("egress_source", name))
        return SourceConfig(name=name)

    async def egress_path(self, domain, source, site):
        self.calls.append(("egress_path", domain, source, site))
        return _given(self.paths.get(source, self.path))

    async def route_table(self, name):
        self.calls.append(("route_table", name))
        if name not in self.tables:
            raise UnknownTable(f"no table {name}")
        return _given(self.tables[name])

    async def throttle_insert_ready_queue(self, message):
        if self.on_throttle is not None:
            self.on_throttle(message)

    async def requeue_message(self, message, response, reasons, increment_attempts, delay):
        self.calls.append(("requeue_message", response, tuple(reasons), increment_attempts, delay))
        if self.on_requeue is not None:
            self.on_requeue(message)

    async def rewrite_delivery_status(self, response, name):
        self.calls.append(("rewrite_delivery_status", response, name.text))
        return self.rewrite.get(response)

    async def spool_message_enumerated(self, message):
        self.calls.append(("spool_message_enumerated", message.id))


def _given(value):
    if isinstance(value, Exception):
        raise value
    return value


class ListRecorder:
    """Keeps what it is given, the mutable parts copied as the real one encodes them."""

    def __init__(self) -> None:
        self.records = []
        self._fails_at = None

    def fail_at(self, kind: str) -> None:
        """Fail, which a recorder never does, at the next record of that kind."""
        self._fails_at = kind

    async def record(self, record):
        if record.type.value == self._fails_at:
            self._fails_at = None
            raise RuntimeError("the recorder fails")
        self.records.append(record)

    def brief(self):
        return [(one.type.value, one.response.code, one.recipients) for one in self.records]

    def of(self, kind: str):
        return [one for one in self.records if one.type.value == kind]


class FakeSession:
    """A session that answers by its channel's script."""

    def __init__(self, channel: FakeChannel, request) -> None:
        self.channel = channel
        self.request = request
        self.max_batch = channel.max_batch
        self.min_batch = channel.min_batch
        self.batch_latency = channel.batch_latency
        self.is_connected = False
        self.is_closed = False
        self.is_busy = False

    async def connect(self):
        assert not self.is_connected
        assert not self.is_closed
        self.channel.connects += 1
        failure = self.channel.on_connect() if self.channel.on_connect else None
        if isinstance(failure, Deferred):
            failure = await failure
        if failure is not None:
            raise failure.with_traceback(None)
        self.is_connected = True

    async def deliver(self, batch: Sequence[Message]):
        assert self.is_connected
        assert not self.is_busy, "one dispatcher at a time"
        assert 0 < len(batch) <= self.max_batch
        assert all(message.body is not None for message in batch), "bodies are in memory"
        self.is_busy = True
        self.channel.batches.append(list(batch))
        try:
            answer = self.channel.answer(batch)
            if isinstance(answer, Deferred):
                answer = await answer
        finally:
            self.is_busy = False
        if isinstance(answer, Outcome):
            answer = [(answer,) * len(message.recipients) for message in batch]
        if any(outcome.scope is Scope.SESSION for outcomes in answer for outcome in outcomes):
            self.is_connected = False
        return answer

    async def close(self):
        assert not self.is_closed
        self.is_closed = True
        self.is_connected = False


class FakeChannel:
    """A channel whose `answer(batch)` gives an Outcome for all, rows of outcomes, or a Deferred of either."""

    protocol_name = "fake"

    def __init__(self, answer=lambda batch: DELIVERED, at_once=False) -> None:
        self.answer = answer
        self.on_connect = None
        self.delivers_at_once = at_once
        self.max_batch = self.min_batch = 1
        self.batch_latency = 0.0
        self.connects = 0
        self.batches: list[list[Message]] = []
        self.sessions: list[FakeSession] = []
        self.sites: dict[str, str | Exception] = {}
        self.site_gate: Deferred | None = None

    async def site_name(self, domain):
        if self.site_gate is not None:
            await self.site_gate
        return _given(self.sites.get(domain, f"mx.{domain}"))

    def open(self, request):
        session = FakeSession(self, request)
        self.sessions.append(session)
        return session

    @property
    def is_all_closed(self):
        return all(session.is_closed for session in self.sessions)


class House:
    """A manager with everything under it."""

    def __init__(
        self,
        policy=None,
        channel=None,
        store=None,
        clock=None,
        chance=lambda: 0.5,
        bodies=None,
        suspects=None,
        mail_hosts=no_hosts,
        heard_of=None,
        watch=None,
    ) -> None:
        self.clock = clock or started_clock()
        self.policy = policy or FakePolicy()
        self.channel = channel or FakeChannel()
        #: Channels of other protocols, by protocol.
        self.channels = {}
        self.store = store if store is not None else MemoryStore()
        self.recorder = ListRecorder()
        self.limits = LocalLimits(self.clock)
        self.tasks = Tasks()
        self.ids = IdGenerator(self.clock.seconds)
        #: What receipts have said; `tell` it.
        self.watch = watch or MemoryWatch()
        self.manager = Manager(
            Surroundings(
                store=self.store,
                policy=self.policy,
                recorder=self.recorder,
                limits=self.limits,
                channel_for=lambda protocol: self.channels.get(protocol, self.channel),
                clock=self.clock,
                tasks=self.tasks,
            ),
            Knowledge(mail_hosts=mail_hosts, heard_of=heard_of, watch=self.watch),
            chance=chance,
            bodies=bodies,
            suspects=suspects,
        )

    def message(self, *recipients: str, sender="sender@from.example", body=b"Subject: x\r\n\r\nhi\r\n", **meta):
        to = recipients or ("user@to.example",)
        return Message(self.ids(), parse_address(sender), tuple(parse_address(one) for one in to), dict(meta), body)

    def insert(self, message=None, **meta):
        """Save and insert, which must not wait."""
        message = message or self.message(**meta)
        now(self.store.save((message,)))
        now(self.manager.insert(message))
        return message

    def pass_time(self, seconds: float) -> None:
        """Let time pass second by second, with a turn for everything that asks for one."""
        whole = int(seconds)
        for step in [1.0] * whole + ([seconds - whole] if seconds > whole else []):
            self.clock.advance(step)
            self.turn()

    def turn(self) -> None:
        """Let everything that is due now happen."""
        for _ in range(20):
            self.clock.advance(0)
            calls = self.clock.getDelayedCalls()
            if not calls or min(call.getTime() for call in calls) > self.clock.seconds():
                return

    def stop(self, within=5.0):
        stopping = Deferred.fromCoroutine(self.manager.stop(within))
        for _ in range(int(within) + 2):
            if not stopping.called:
                self.clock.advance(1.0)
        now(stopping)
        now(self.tasks.close())
        assert self.clock.getDelayedCalls() == []
        assert self.channel.is_all_closed

    def numbers(self, name):
        return {sample.labels: sample.value for sample in self.manager.samples() if sample.name == name}


def started_clock() -> Clock:
    clock = Clock()
    clock.advance(START)
    return clock


def now(work):
    """The result of a coroutine or Deferred that must be there already."""
    deferred = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
    results, failures = [], []
    deferred.addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    assert results, "still waiting"
    return results[0]

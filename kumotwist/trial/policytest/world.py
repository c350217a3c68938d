"""Everything around a policy under test: the real intake, queue, routing and records on a pretended clock.

What is not real: time, the spool's disk, the channels (but `custom_lua`), and
the outside world that `outside` stands for. One world serves one test.

Public: `World`. What can go wrong: PolicyError and ConfigError at `start`, Failed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from kumotwist.config.queue import GeneratorProtocol, Protocol
from kumotwist.core.errors import KumotwistError
from kumotwist.core.ids import IdGenerator
from kumotwist.core.interfaces import Channel, KeyLoader
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.receipt import ReceiptEvent
from kumotwist.core.records import Record, RecordType
from kumotwist.core.way import Way
from kumotwist.egress.registry import Channels
from kumotwist.lua.binding import Library
from kumotwist.lua.lib.catalog import Services, standard_libraries
from kumotwist.lua.lib.dns import DnsLibrary
from kumotwist.lua.lib.http import HttpLibrary
from kumotwist.lua.policy import Policy, PolicyServices
from kumotwist.net.dnsswitch import ConfigurableResolver
from kumotwist.net.http import HttpTransports
from kumotwist.net.mx import mail_hosts
from kumotwist.net.tasks import Tasks
from kumotwist.queue.manager import Manager
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.surroundings import Knowledge, Surroundings
from kumotwist.queue.throttle import LocalLimits
from kumotwist.records import dispositions
from kumotwist.records.receipts import tables as receipt_tables
from kumotwist.records.receipts.awaited import Awaited
from kumotwist.records.receipts.desk import ReceiptDesk
from kumotwist.records.receipts.returns import Returns
from kumotwist.records.recorder import RecordLog
from kumotwist.spool.memory import MemoryStore
from kumotwist.trial.policytest.answers import Answers
from kumotwist.trial.policytest.channels import ScriptedChannels, copied
from kumotwist.trial.policytest.keys import Keys
from kumotwist.trial.policytest.ledger import MemoryState
from kumotwist.trial.policytest.names import Names, PolicyNames
from kumotwist.trial.policytest.pretend import InlineThreads, PretendClock
from kumotwist.trial.policytest.roster import Roster, WatchedQueues
from kumotwist.trial.policytest.unscripted import Unscripted
from kumotwist.trial.policytest.ways import HOSTNAME, WaysIn
from kumotwist.trial.policytest.web import Web

#: So that a test that failed fails again: `math.random` of the policy and the spread of retries.
SEED: Final = 1


class World:
    """A house that handles the messages of one test."""

    def __init__(
        self, policy: Path, clock: PretendClock, store: MemoryStore, environment: Mapping[str, str] | None = None
    ) -> None:
        """`environment` is what key sources find there."""
        self.path = policy
        self.clock = clock
        self.store = store
        self.unscripted = Unscripted()
        self.roster = Roster()
        self.answers, self.web = Answers(), Web(clock, self.unscripted)
        self.keys = Keys(lambda name, args: self.policy.run_key_event(name, args), self.unscripted, environment or {})
        self.names = Names(clock)
        self._dns = ConfigurableResolver(self.names)
        self._policy_dns = PolicyNames(self._dns, self.names, self.unscripted)
        self.records: list[JsonObject] = []
        self.messages: list[Message] = []
        self.policy: Policy
        self._queues: WatchedQueues
        self.channels: ScriptedChannels
        self._tasks = Tasks()
        self._ids = IdGenerator(clock.seconds)
        self._limits = LocalLimits(clock)
        self._state: MemoryState
        self._desk: ReceiptDesk
        self._awaited: Awaited
        self._log: RecordLog
        self._queue: Manager
        self.ways: WaysIn

    # -- from start to stop -----------------------------------------------------------------------

    def start(self) -> None:
        """Load the policy as the daemon would. Raises PolicyError, ConfigError, Rejection."""
        self.policy = self.clock.result(Policy.load(self.path, self._services()), "the policy")
        self.clock.result(self.policy.pre_init(), "pre_init")
        self.clock.result(self.policy.init(), "init")
        self._build()
        self._queue.start()
        for task in self.policy.declarations.tasks:
            self.policy.start_task(task)
        self.clock.settle()

    def close(self) -> None:
        """End what runs."""
        if hasattr(self, "_queue"):
            self.clock.result(self._queue.stop(0.0), "the end of the queue")
            if hasattr(self, "ways"):
                self.ways.stop()
            self.clock.result(self._log.close(), "the end of the logs")
            self.clock.result(self._awaited.close(), "the end of the messages that wait for receipts")
            self.clock.result(self._desk.close(), "the end of the receipts")
            self.clock.result(self._returns.close(), "the end of the reports by mail")
            self.clock.result(self._state.close(), "the end of the state file")
        self.clock.result(self._tasks.close(), "the end of background work")

    def lines(self) -> dict[str, list[int]]:
        """The lines of the policy and its modules that ran, by file."""
        return self.policy.program.bridge.engine.lines() if hasattr(self, "policy") else {}

    def _services(self) -> PolicyServices:
        threads = InlineThreads(self.clock, "policy files", 1, 1)
        libraries = Services(
            reactor=self.clock,
            tasks=self._tasks,
            keys=self.keys,
            limits=self._limits,
            resolver=self._policy_dns,
            ids=self._ids,
            epoch=lambda: self.policy.epoch if hasattr(self, "policy") else 0,
            declare_acct_log=lambda _: None,
            file_threads=threads,
            database_threads=threads,
        )
        return PolicyServices(
            store=self.store,
            injector=lambda: self.ways.admission,
            ids=self._ids,
            clock=self.clock,
            tasks=self._tasks,
            libraries=[self._pretended(one) for one in standard_libraries(libraries)],
            counts_lines=True,
            seed=SEED,
        )

    def _pretended(self, library: Library) -> Library:
        """The same library, or its double for what would leave the machine."""
        if isinstance(library, DnsLibrary):
            return DnsLibrary(self._policy_dns, lambda _: self._policy_dns.strict)
        if isinstance(library, HttpLibrary):
            return HttpLibrary(cast("HttpTransports", self.web))
        return library

    def _build(self) -> None:
        self._queues = WatchedQueues(self.policy, self.roster)
        policy, clock, declared = self.policy, self.clock, self.policy.declarations
        keys: KeyLoader = self.keys
        self._state = clock.result(MemoryState.made(clock, receipt_tables.SCHEMA), "the state file")
        self._desk = ReceiptDesk(self._state, declared.receipts, clock, self._record_receipt)
        self._returns = Returns(self._state, clock, lambda: policy.handles("get_listener_domain"), self._note_return)
        self._awaited = Awaited(self._state, 0, clock)
        self._log = RecordLog.open(
            logs=(),
            hooks=declared.log_hooks,
            policy=policy,
            inject=lambda message: self.ways.admission.inject(message),
            load_body=self.store.load_body,
            new_id=self._ids,
            nodeid="test",
            reactor=clock,
            note_handover=self._note_handover,
            classify=declared.classify,
        )
        self._classify = declared.classify
        real = Channels(self._dns, keys, policy, clock, cast("Any", clock), HOSTNAME, HttpTransports(clock))
        self.channels = ScriptedChannels(self.answers, real, clock, self._way_of, self.unscripted, self.roster)
        chance = random.Random(SEED)  # noqa: S311  # it spreads retries
        self._queue = Manager(
            Surroundings(
                store=self.store,
                policy=self._queues,
                recorder=self,
                limits=self._limits,
                channel_for=self._channel_for,
                clock=clock,
                tasks=self._tasks,
            ),
            Knowledge(mail_hosts=partial(mail_hosts, self._dns), heard_of=self._desk.heard_of, watch=self._awaited),
            chance=chance.random,
        )
        self.ways = WaysIn(policy, self.store, self, self._queue, self._limits, keys, self._ids, clock, self._returns)

    def _way_of(self, message: Message) -> Way | None:
        return self._queue.way_of(message)

    def _note_handover(self, record: Record) -> None:
        self._desk.handovers.note(record)
        self._returns.note(record)

    def _note_return(self, way: Way, event: ReceiptEvent, handed_over: float) -> None:
        self._queue.note_receipt(way, event, handed_over)

    async def _record_receipt(self, record: Record) -> None:
        if record.way is not None and record.receipt is not None:
            self._queue.note_receipt(record.way, record.receipt, record.handed_over)
        await self.record(record)

    def _channel_for(self, protocol: Protocol) -> Channel:
        return self.ways.generator if isinstance(protocol, GeneratorProtocol) else self.channels.channel_for(protocol)

    async def record(self, record: Record) -> None:
        """Keep what a log would have, with all metadata, and offer it to the policy's log hooks."""
        built = dispositions.build(record, "test", self._classify)
        shown: JsonObject = msgspec.json.decode(dispositions.encode(built))
        if record.message is not None:
            shown["meta"] = dict(record.message.meta)
            if record.type is RecordType.RECEPTION:
                self.messages.append(copied(record.message))
                self.roster.meet_message(record.message)
        self.records.append(shown)
        await self._log.record(record)

    # -- what a test does -------------------------------------------------------------------------

    def use_names(self, names: object) -> None:
        """Ask these names from now on, also where the policy has configured others. Raises ValueError."""
        self.names.give(names)
        self._policy_dns.use(self._policy_dns.strict)

    def receive(self, event: ReceiptEvent) -> None:
        """Take a receipt as from a provider."""
        self.clock.result(self._desk.receive((event,)), "the receipt")
        self.clock.settle()

    def check(self) -> None:
        """At the end of the test. Raises Failed when it had no answer to something, or answers for nobody."""
        self.unscripted.check()
        for stage in self.roster.open_stages:
            with suppress(KumotwistError):  # the policy knows no such table: so neither do we
                self.clock.result(self._queues.route_table(stage), f"the route table '{stage}'")
        self.roster.check()

    def table(self, name: str) -> RouteTable | None:
        """A route table that messages have used."""
        return self._queue.table_at_work(name)

    def queued(self) -> int:
        """Messages that are still on their way."""
        return len(self.store)

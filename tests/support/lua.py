"""Running policies in tests: a `Policy` on a fake clock and a store in memory, from Lua text."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kumotwist.core.address import parse_address
from kumotwist.core.ids import IdGenerator
from kumotwist.core.interfaces import Witness
from kumotwist.core.message import Message
from kumotwist.lua.binding import Library
from kumotwist.lua.bridge import NO_WITNESS
from kumotwist.lua.policy import Policy, PolicyServices
from kumotwist.lua.redact import Redactor
from kumotwist.net.tasks import Tasks
from kumotwist.spool.memory import MemoryStore

T = TypeVar("T")

BODY = b"From: Ann <ann@example.com>\r\nTo: bob@example.org\r\nSubject: hello\r\nX-Tenant: acme\r\n\r\nHi\r\n"


def now(coroutine: Coroutine[Deferred[Any], Any, T]) -> T:
    """The result of a coroutine that does not wait."""
    work = Deferred.fromCoroutine(coroutine)
    assert work.called, "it waits"
    outcome: list[Any] = []
    work.addBoth(outcome.append)
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    result: T = outcome[0]
    return result


@define
class Collected:
    """An `Injector` that keeps what it is given."""

    messages: list[Message] = field(factory=list)

    async def inject(self, message: Message) -> None:
        self.messages.append(message)


@define
class Waits:
    """A library with one operation, `kumo.wait(name)`, that ends when the test says so."""

    namespace = ""
    waiting: dict[str, Deferred[object]] = field(factory=dict)

    def functions(self) -> dict[str, Any]:
        return {"wait": self.wait}

    async def wait(self, name: str) -> object:
        waiting: Deferred[object] = Deferred()
        self.waiting[name] = waiting
        return await waiting

    def end(self, name: str, result: object = None) -> None:
        """Let `kumo.wait(name)` return `result`, or raise it when it is an exception."""
        waiting = self.waiting.pop(name)
        if isinstance(result, Exception):
            waiting.errback(result)
        else:
            waiting.callback(result)


@define
class Bench:
    """What a policy of the test stands on."""

    directory: Path
    clock: Clock = field(factory=Clock)
    tasks: Tasks = field(factory=Tasks)
    store: MemoryStore = field(factory=MemoryStore)
    injected: Collected = field(factory=Collected)
    waits: Waits = field(factory=Waits)
    ids: IdGenerator = field(factory=lambda: IdGenerator(time.time))
    libraries: Sequence[Library] = ()
    cpu_budget: float = 5.0
    witness: Witness = NO_WITNESS
    redactor: Redactor = field(factory=Redactor)

    @property
    def path(self) -> Path:
        """The policy file."""
        return self.directory / "policy.lua"

    @property
    def services(self) -> PolicyServices:
        return PolicyServices(
            store=self.store,
            injector=lambda: self.injected,
            ids=self.ids,
            clock=self.clock,
            tasks=self.tasks,
            libraries=(self.waits, *self.libraries),
            cpu_budget=self.cpu_budget,
            witness=self.witness,
            redactor=self.redactor,
        )

    def write(self, source: str) -> None:
        """Write the policy file; `kumo` is there already."""
        self.path.write_text("local kumo = require 'kumo'; " + source)

    def policy(self, source: str) -> Policy:
        """The policy with this source."""
        self.write(source)
        return now(Policy.load(self.path, self.services))

    def message(self, body: bytes | None = BODY, recipients: Sequence[str] = ("bob@example.org",)) -> Message:
        addresses = tuple(parse_address(one) for one in recipients)
        return Message(self.ids(), parse_address("ann@example.com"), addresses, {}, body)

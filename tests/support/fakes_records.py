"""Doubles for what records need: a policy with an opinion, a place to inject, bodies to load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field

from kumotwist.core.errors import SpoolCorrupt
from kumotwist.core.message import Message


@define(eq=False)
class FakeRecordPolicy:
    """Answers with what `filter` and `enqueue` return, or raises what they raise."""

    filter: Callable[[str, Message], Any] = field(default=lambda event, message: True)
    enqueue: Callable[[Message, str], Any] = field(default=lambda message, hook: True)

    async def filter_record(self, event: str, message: Message) -> bool:
        return self.filter(event, message)

    async def should_enqueue_log_record(self, message: Message, hook_name: str) -> bool:
        answer = self.enqueue(message, hook_name)
        return await answer if hasattr(answer, "__await__") else answer


@define(eq=False)
class FakeInjector:
    """Keeps what is injected; raises `failure` instead when there is one."""

    messages: list[Message] = field(factory=list)
    failure: Exception | None = None

    async def inject(self, message: Message) -> None:
        if self.failure is not None:
            raise self.failure
        self.messages.append(message)


@define(eq=False)
class FakeBodies:
    """Loads bodies by id."""

    bodies: dict[bytes, bytes] = field(factory=dict)

    async def load(self, message: Message) -> bytes:
        if message.id not in self.bodies:
            raise SpoolCorrupt("gone")
        message.body = self.bodies[message.id]
        return message.body

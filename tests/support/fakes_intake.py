"""Doubles for what intake needs: a store, a recorder, a queue, a policy, a gate and keys.

Each keeps the contract of its Protocol in `core.interfaces`, in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

from kumotwist.config.acl import AccessDecision
from kumotwist.config.keysource import FileKey, KeySource, LiteralKey
from kumotwist.config.listener import ListenerDomain
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.connection import AuthInfo, ConnectionMeta, Identity
from kumotwist.core.errors import SecretUnavailable
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.records import Record, RecordType


@define(eq=False)
class FakeStore:
    """A store in memory; `hold` makes every save wait until `release`, `failure` makes it fail."""

    is_healthy: bool = True
    failure: Exception | None = None
    hold: bool = False
    saved: dict[bytes, Message] = field(factory=dict)
    written: dict[bytes, Message] = field(factory=dict)
    waiting: list[Deferred[None]] = field(factory=list)
    removed: list[bytes] = field(factory=list)

    async def save(self, messages: Sequence[Message]) -> None:
        if self.failure is not None:
            raise self.failure
        self.written.update({message.id: message for message in messages})
        if self.hold:
            wait: Deferred[None] = Deferred()
            self.waiting.append(wait)
            await wait
        else:
            self.sync()
        for message in messages:
            message.is_meta_dirty = message.is_body_dirty = False

    def sync(self) -> None:
        """What was written is on disk, also when nobody waits for it any more."""
        self.saved.update(self.written)
        self.written.clear()

    def release(self) -> None:
        """Let all waiting saves finish."""
        self.hold = False
        self.sync()
        waiting, self.waiting = self.waiting, []
        for wait in waiting:
            wait.callback(None)

    async def save_meta_later(self, message: Message) -> None:
        message.is_meta_dirty = False

    def remove(self, spool_id: bytes) -> None:
        self.removed.append(spool_id)
        self.saved.pop(spool_id, None)
        self.written.pop(spool_id, None)

    async def load(self, spool_ids: Sequence[bytes]) -> Sequence[Message | None]:
        return [self.saved.get(one) for one in spool_ids]

    async def load_body(self, message: Message) -> bytes:
        assert message.body is not None
        return message.body

    async def enumerate(self) -> Any:
        yield list(self.saved.values())

    async def close(self) -> None:
        pass


@define(eq=False)
class FakeRecorder:
    """Keeps every record."""

    records: list[Record] = field(factory=list)

    async def record(self, record: Record) -> None:
        self.records.append(record)

    def of(self, kind: RecordType) -> list[Record]:
        """The records of one type."""
        return [record for record in self.records if record.type is kind]


@define(eq=False)
class FakeAuditor:
    """Keeps every note."""

    authentications: list[tuple[Identity, bool, AuthInfo]] = field(factory=list)
    authorizations: list[tuple[AccessDecision, AuthInfo]] = field(factory=list)

    async def authentication(self, attempted: Identity, success: bool, auth: AuthInfo) -> None:
        self.authentications.append((attempted, success, auth))

    async def authorization(self, decision: AccessDecision, auth: AuthInfo) -> None:
        self.authorizations.append((decision, auth))

    async def close(self) -> None:
        pass


@define(eq=False)
class FakeQueue:
    """Takes everything, unless told to fail for a queue name; `hold` makes inserts wait."""

    failures: dict[str, Exception] = field(factory=dict)
    unresolvable: dict[str, Exception] = field(factory=dict)
    hold: bool = False
    resolved: list[str] = field(factory=list)
    messages: list[Message] = field(factory=list)
    waiting: list[Deferred[None]] = field(factory=list)

    async def resolve(self, queue_name: str) -> None:
        if queue_name in self.unresolvable:
            raise self.unresolvable[queue_name]
        self.resolved.append(queue_name)

    async def insert(self, message: Message) -> None:
        if self.hold:
            wait: Deferred[None] = Deferred()
            self.waiting.append(wait)
            await wait
        error = self.failures.get(message.queue_name())
        if error is not None:
            raise error
        self.messages.append(message)


@define(eq=False)
class FakeGate:
    """Says no when given a text."""

    text: str | None = None

    def refusal(self) -> str | None:
        return self.text


@define(eq=False)
class FakeKeys:
    """Literal keys and files only."""

    loads: int = 0

    async def load(self, source: KeySource) -> bytes:
        self.loads += 1
        if isinstance(source, LiteralKey):
            return source.key_data
        if isinstance(source, FileKey):
            with open(source.path, "rb") as file:
                return file.read()
        raise SecretUnavailable("no such source here", permanent=True)


@define(eq=False)
class FakePolicy:
    """Runs Python callables in the place of Lua handlers.

    `handlers` maps an event name to a callable with the event's arguments; it
    may return a value, a Deferred or an awaitable, or raise.
    """

    handlers: dict[str, Callable[..., Any]] = field(factory=dict)
    calls: list[str] = field(factory=list)

    def handles(self, event: str) -> bool:
        return event in self.handlers

    async def _run(self, event: str, *args: Any) -> Any:
        handler = self.handlers.get(event)
        if handler is None:
            return None
        self.calls.append(event)
        result = handler(*args)
        return await result if hasattr(result, "__await__") else result

    async def smtp_server_get_dynamic_parameters(self, listener: str, conn: ConnectionMeta) -> JsonObject | None:
        return await self._run("smtp_server_get_dynamic_parameters", listener, conn)

    async def smtp_server_connection_accepted(self, conn: ConnectionMeta) -> None:
        await self._run("smtp_server_connection_accepted", conn)

    async def smtp_server_ehlo(
        self, domain: str, conn: ConnectionMeta, extensions: Sequence[str] | None
    ) -> Sequence[str] | None:
        return await self._run("smtp_server_ehlo", domain, conn, extensions)

    async def smtp_server_auth_plain(
        self, authz: str, authc: str, password: str, conn: ConnectionMeta
    ) -> AuthInfo | bool:
        return await self._run("smtp_server_auth_plain", authz, authc, password, conn) or False

    async def smtp_server_mail_from(self, sender: EnvelopeAddress, conn: ConnectionMeta) -> None:
        await self._run("smtp_server_mail_from", sender, conn)

    async def get_listener_domain(self, domain: str, listener: str, conn: ConnectionMeta) -> ListenerDomain | None:
        return await self._run("get_listener_domain", domain, listener, conn)

    async def smtp_server_rcpt_to(self, recipient: EnvelopeAddress, conn: ConnectionMeta) -> None:
        await self._run("smtp_server_rcpt_to", recipient, conn)

    async def smtp_server_data(self, message: Message, conn: ConnectionMeta) -> None:
        await self._run("smtp_server_data", message, conn)

    async def smtp_server_split_transaction(
        self, message: Message, conn: ConnectionMeta
    ) -> Sequence[Sequence[EnvelopeAddress]] | None:
        return await self._run("smtp_server_split_transaction", message, conn)

    async def smtp_server_message_received(self, message: Message, conn: ConnectionMeta) -> None:
        await self._run("smtp_server_message_received", message, conn)

    async def smtp_server_rewrite_response(
        self, code: int, text: str, command: str | None, conn: ConnectionMeta
    ) -> tuple[int | None, str | None]:
        return await self._run("smtp_server_rewrite_response", code, text, command, conn) or (None, None)

"""The handlers that a message meets before it is queued, as an explanation runs them; what each did is told.

They really run, on a message and a connection that are nobody else's: for SMTP
in the order of a session, from the client's connection to the end of its
message, with the listener's own rules about relaying between them; for HTTP
the one there is.

Public: `Session`, `Reception`, `receive`, `generate`, `see_again`. Nothing is raised: a handler that fails
says so in its `problem`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from attrs import define, field
from twisted.internet.defer import CancelledError

from kumotwist.admin.handlers import Handler, changes_of, facts_of
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.connection import AuthInfo, ConnectionMeta
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.message import Message
from kumotwist.lua.policy import Policy

_SPLIT: Final = "smtp_server_split_transaction"
_RECEIVED: Final = "smtp_server_message_received"


class Session(Protocol):
    """What would hold for an SMTP client if it connected: `intake.smtp.imagined`."""

    @property
    def conn(self) -> ConnectionMeta:
        """The connection as policy sees it."""
        ...

    async def adjust(self) -> None:
        """Run `smtp_server_get_dynamic_parameters`."""
        ...

    async def hello(self) -> None:
        """Run `smtp_server_ehlo`, if there is one."""
        ...

    def log_in(self) -> None:
        """The client is who it says."""
        ...

    async def refuses(self, sender: EnvelopeAddress, recipient: EnvelopeAddress) -> str:
        """Why the listener would not take `recipient`, empty when it would."""
        ...

    async def discards(self, message: Message) -> str:
        """Why a received `message` would not be queued, empty when it would."""
        ...


@define
class Reception:
    """What the handlers did, and which recipients become which messages; `refused` is what the listener says itself."""

    groups: Sequence[Sequence[EnvelopeAddress]]
    handlers: list[Handler] = field(factory=list)
    refused: list[str] = field(factory=list)
    is_taken_in: bool = True

    async def run(
        self, event: str, policy: Policy, call: Callable[[], Awaitable[object]], facts: Callable[[], Mapping[str, str]]
    ) -> bool:
        """Run what handles `event` by `call`, and tell what of `facts` it changed; whether the message may go on."""
        if not policy.handles(event):
            return True
        before, handler = facts(), Handler(event, policy.program.source_of(event))
        try:
            await call()
        except CancelledError:
            raise
        except Rejection as rejection:
            handler.rejected = str(rejection)
        except PolicyError as error:
            handler.problem = str(error)
        handler.changes = list(changes_of(before, facts()))
        self.handlers.append(handler)
        return not (handler.rejected or handler.problem)


async def generate(message: Message, policy: Policy) -> Reception:
    """What HTTP injection makes of `message`, which becomes the first of its messages."""
    found = Reception([[one] for one in message.recipients])
    message.recipients = tuple(found.groups[0])
    return await _see(found, message, policy, is_smtp=False)


async def receive(message: Message, policy: Policy, session: Session) -> Reception:
    """What a session makes of `message`, which becomes the first of its messages."""
    found = Reception([])
    sent = _Sent(message, policy, session, found)
    found.is_taken_in = await sent.envelope() and await sent.whole() and await sent.first()
    return found


async def see_again(message: Message, policy: Policy, is_smtp: bool) -> Reception:
    """Show a message of the past to the handler that sees the whole of it; of its connection nothing is known."""
    return await _see(Reception([message.recipients]), message, policy, is_smtp)


async def _see(found: Reception, message: Message, policy: Policy, is_smtp: bool) -> Reception:
    event = _RECEIVED if is_smtp else "http_message_generated"

    async def call() -> None:
        if is_smtp:
            await policy.smtp_server_message_received(message, ConnectionMeta())
        else:
            await policy.http_message_generated(message, AuthInfo())

    found.is_taken_in = await found.run(event, policy, call, lambda: facts_of(message))
    return found


@define(eq=False)
class _Sent:
    """One message on its way through the session, command by command; each says whether it goes on."""

    message: Message
    policy: Policy
    session: Session
    found: Reception

    async def envelope(self) -> bool:
        """To the last RCPT. Metadata that was given is there from the beginning."""
        session, policy, conn = self.session, self.policy, self.session.conn
        conn.meta.update(self.message.meta)
        if not (
            await self._run("smtp_server_get_dynamic_parameters", session.adjust)
            and await self._run("smtp_server_connection_accepted", lambda: policy.smtp_server_connection_accepted(conn))
            and await self._run("smtp_server_ehlo", session.hello)
        ):
            return False
        if not policy.handles("smtp_server_ehlo"):
            await session.hello()
        session.log_in()
        sender = self.message.sender
        if not await self._run("smtp_server_mail_from", lambda: policy.smtp_server_mail_from(sender, conn)):
            return False
        self.message.recipients = tuple([one for one in self.message.recipients if await self._takes(one)])
        return bool(self.message.recipients)

    async def _takes(self, recipient: EnvelopeAddress) -> bool:
        """RCPT, of which others know nothing."""
        if not await self._relays(lambda: self.session.refuses(self.message.sender, recipient)):
            return False
        before = len(self.found.handlers)
        is_taken = await self._run(
            "smtp_server_rcpt_to", lambda: self.policy.smtp_server_rcpt_to(recipient, self.session.conn)
        )
        for handler in self.found.handlers[before:]:
            handler.about = recipient.email
        return is_taken

    async def _relays(self, ask: Callable[[], Awaitable[str]]) -> bool:
        """Ask the listener, and tell why it says no, or that its handler failed."""
        try:
            refused = await ask()
        except PolicyError as error:
            event = "get_listener_domain"
            self.found.handlers.append(Handler(event, self.policy.program.source_of(event), problem=str(error)))
            return False
        if refused:
            self.found.refused.append(refused)
        return not refused

    async def whole(self) -> bool:
        """DATA, and which messages come of it."""
        message, policy, conn = self.message, self.policy, self.session.conn
        message.meta.update(conn.meta)
        if not await self._run("smtp_server_data", lambda: policy.smtp_server_data(message, conn), is_message=True):
            return False
        groups: list[Sequence[Sequence[EnvelopeAddress]] | None] = [None]

        async def split() -> None:
            groups[0] = await policy.smtp_server_split_transaction(message, conn)

        if not await self._run(_SPLIT, split):
            return False
        each = [[one] for one in message.recipients]
        self.found.groups = each if groups[0] is None else [group for group in groups[0] if group]
        if not self.found.groups:
            self.found.handlers[-1].problem = "it leaves the message without recipients"
            return False
        message.recipients = tuple(self.found.groups[0])
        return True

    async def first(self) -> bool:
        """The first of these messages, to the queue."""
        message, conn = self.message, self.session.conn
        if not await self._run(
            _RECEIVED, lambda: self.policy.smtp_server_message_received(message, conn), is_message=True
        ):
            return False
        if not message.recipients:
            self.found.refused.append(
                f"{_RECEIVED} leaves it without recipients: it is thrown away, and the client hears 250"
            )
            return False
        return await self._relays(lambda: self.session.discards(message))

    async def _run(self, event: str, call: Callable[[], Awaitable[object]], is_message: bool = False) -> bool:
        return await self.found.run(event, self.policy, call, self._of_message if is_message else self._of_connection)

    def _of_message(self) -> Mapping[str, str]:
        return facts_of(self.message)

    def _of_connection(self) -> Mapping[str, str]:
        return {f"connection meta {name}": repr(value) for name, value in self.session.conn.meta.items()}

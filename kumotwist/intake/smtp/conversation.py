"""What we answer an SMTP client: one decision per event of the core.

No transport here. A decision is a reply at once when policy has no handler
for the event (the common case, and the fast one), else a coroutine that ends
in one.

Public: `Conversation`, `Reply`, `Decision`. What can go wrong: coroutines
raise `Rejection`, `PolicyError` and what admission raises;
`listener.refusal` makes replies of them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred

from kumotwist.core.errors import ConfigError, SecretUnavailable
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import Response
from kumotwist.intake.smtp.client import Client, endpoint
from kumotwist.intake.smtp.listener import Listener, log
from kumotwist.intake.smtp.login import log_in
from kumotwist.intake.smtp.transaction import Transaction
from kumotwist.net.drive import drive
from kumotwist.net.tls import ServerContext
from kumotwist.proto.smtp import replies
from kumotwist.proto.smtp.events import (
    Answer,
    Credentials,
    EndOfData,
    Event,
    Hello,
    Mail,
    Rcpt,
    StartData,
    StartTls,
    Xclient,
)
from kumotwist.proto.smtp.server import ServerSession

Reply: TypeAlias = tuple[int, str]
Decision: TypeAlias = Reply | Coroutine[Deferred[Any], Any, Reply]


class Conversation:
    """What one client says and hears, without its wire."""

    __slots__ = ("_handles", "client", "core", "listener", "tls_context", "transaction")

    def __init__(self, listener: Listener, remote: tuple[str, int], local: tuple[str, int]) -> None:
        """`remote` and `local` are address and port of the connection's ends."""
        self.listener = listener
        self.client = Client(listener, remote, local)
        self.core = ServerSession(self.client.rules())
        self.tls_context: ServerContext | None = None
        self.transaction: Transaction | None = None
        self._handles = listener.policy.handles

    def relocate(self, remote: tuple[str, int], local: tuple[str, int]) -> None:
        """The real ends are others (PROXY, XCLIENT)."""
        self.client.place(remote, local)
        self.core.rules = self.client.rules()

    # -- decisions --------------------------------------------------------------------------------

    def greeting(self) -> Decision:
        """The banner, when policy lets the client in."""
        if self._handles("smtp_server_get_dynamic_parameters") or self._handles("smtp_server_connection_accepted"):
            return self._welcome()
        return self._banner()

    def decide(self, event: Event) -> Decision:
        """The answer to an event of the core."""
        return _DECISIONS[type(event)](self, event)

    def _banner(self) -> Reply:
        return 220, f"{self.client.hostname} {self.client.config.banner}"

    async def _welcome(self) -> Reply:
        await self._adjust()
        if self._handles("smtp_server_connection_accepted"):
            await self.listener.policy.smtp_server_connection_accepted(self.client.conn)
        return self._banner()

    async def _adjust(self) -> None:
        """Let policy have its way with the options of this connection."""
        if not self._handles("smtp_server_get_dynamic_parameters"):
            return
        client = self.client
        via = endpoint(client.local)
        parameters = await self.listener.policy.smtp_server_get_dynamic_parameters(via, client.conn)
        if parameters:
            client.adjust(parameters)
            self.core.rules = client.rules()

    def _on_answer(self, event: Answer) -> Decision:
        return event.code, event.text

    def _on_hello(self, event: Hello) -> Decision:
        self.client.named(event.domain)
        if self._handles("smtp_server_ehlo"):
            return self._hello(event)
        return self._hello_reply(event, self.core.extensions() if event.is_extended else [])

    async def _hello(self, event: Hello) -> Reply:
        offered = self.core.extensions() if event.is_extended else None
        wanted = await self.listener.policy.smtp_server_ehlo(event.domain, self.client.conn, offered)
        return self._hello_reply(event, list(wanted if wanted is not None and event.is_extended else offered or []))

    def _hello_reply(self, event: Hello, extensions: list[str]) -> Reply:
        if not event.is_extended:
            return 250, f"Hello {event.domain}!"
        return 250, "\n".join([f"{self.client.hostname} Aloha {event.domain}", *extensions])

    def _on_mail(self, event: Mail) -> Decision:
        reason = self.listener.refusal()
        if reason is not None:
            return 421, f"4.3.2 {self.client.hostname} {reason}"
        if self._handles("smtp_server_mail_from"):
            return self._mail(event)
        return 250, f"OK <{event.address.email}>"

    async def _mail(self, event: Mail) -> Reply:
        await self.listener.policy.smtp_server_mail_from(event.address, self.client.conn)
        return 250, f"OK <{event.address.email}>"

    def _on_rcpt(self, event: Rcpt) -> Decision:
        if not self.client.relay.needs_no_policy or self._handles("smtp_server_rcpt_to"):
            return self._rcpt(event)
        return 250, f"OK <{event.address.email}>"

    async def _rcpt(self, event: Rcpt) -> Reply:
        sender = self.core.sender
        if sender is not None and not await self.client.relay.may_receive(sender, event.address):
            return 550, f"5.7.1 relaying not permitted for {endpoint(self.client.remote)}"
        if self._handles("smtp_server_rcpt_to"):
            await self.listener.policy.smtp_server_rcpt_to(event.address, self.client.conn)
        return 250, f"OK <{event.address.email}>"

    def _on_data(self, _: StartData) -> Decision:
        return replies.SEND_BODY

    def _on_body(self, event: EndOfData) -> Decision:
        listener, client, core = self.listener, self.client, self.core
        self.transaction = Transaction(
            listener.policy,
            listener.admission,
            listener.ids,
            client.config,
            client.conn,
            client.relay,
            client.reception(is_authenticated=core.is_authenticated, is_tls=core.is_tls),
            client.peer(),
            client.session_id,
            listener.clock.seconds(),
        )
        return self.transaction.run(event)

    def _on_starttls(self, _: StartTls) -> Decision:
        self.tls_context = self.listener.tls.ready(self.client.tls_sources())
        return replies.READY_FOR_TLS if self.tls_context is not None else self._starttls()

    async def _starttls(self) -> Reply:
        try:
            self.tls_context = await self.listener.tls.context(self.client.tls_sources())
        except (SecretUnavailable, ConfigError) as error:
            log.error("STARTTLS is not possible: {error}", error=error)
            return replies.TLS_UNAVAILABLE
        return replies.READY_FOR_TLS

    def _on_credentials(self, event: Credentials) -> Decision:
        return self._log_in(event)

    async def _log_in(self, event: Credentials) -> Reply:
        return replies.AUTH_OK if await log_in(self.listener, self.client, event) else replies.AUTH_INVALID

    def _on_xclient(self, event: Xclient) -> Decision:
        return self._xclient(event)

    async def _xclient(self, event: Xclient) -> Reply:
        meta, given = self.client.conn.meta, event.attributes
        for name in ("received_from", "received_via"):
            meta.setdefault(f"orig_{name}", meta[name])
        remote, local = self.client.remote, self.client.local
        self.relocate(
            (given.get("ADDR", remote[0]), int(given.get("PORT", remote[1]))),
            (given.get("DESTADDR", local[0]), int(given.get("DESTPORT", local[1]))),
        )
        await self._adjust()
        return self._banner()

    # -- records ----------------------------------------------------------------------------------

    def note_refusal(self, event: Event | None, code: int, text: str) -> None:
        """Log a 4xx or 5xx that the client hears, but not that we are shutting down or busy."""
        if code == 421 and text.startswith("4.3.2 "):
            return
        listener, core = self.listener, self.core
        recipients = core.recipients
        if isinstance(event, Rcpt):
            recipients = (event.address,)
        record = Record(
            type=RecordType.REJECTION,
            event_time=listener.clock.seconds(),
            response=Response.parse(code, text, event.command if event is not None else None),
            sender=event.address.email if isinstance(event, Mail) else core.sender.email if core.sender else "",
            recipients=tuple([recipient.email for recipient in recipients]),
            peer=self.client.peer(),
            session_id=self.client.session_id,
            meta=dict(self.client.conn.meta),
        )
        drive(listener.recorder.record(record), _ignore, _report)


def _ignore(_: object) -> None:
    """The record is written."""


def _report(error: BaseException) -> None:
    log.error("a Rejection record is lost: {error}", error=error)


_DECISIONS: Final[dict[type[Event], Callable[[Conversation, Any], Decision]]] = {
    Answer: Conversation._on_answer,
    Hello: Conversation._on_hello,
    Mail: Conversation._on_mail,
    Rcpt: Conversation._on_rcpt,
    StartData: Conversation._on_data,
    EndOfData: Conversation._on_body,
    StartTls: Conversation._on_starttls,
    Credentials: Conversation._on_credentials,
    Xclient: Conversation._on_xclient,
}

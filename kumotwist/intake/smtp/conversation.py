"""What we answer an SMTP client: one decision per event of the core.

No transport here. A decision is a reply at once when policy has no handler
for the event (the common case, and the fast one), else a coroutine that ends
in one.

Public: `Conversation`, `Reply`, `Decision`. What can go wrong: coroutines
raise `Rejection`, `PolicyError` and what admission raises;
`listener.refusal` makes replies of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

import attrs
from twisted.internet.defer import CancelledError, Deferred

from kumotwist.config.listener import SmtpListenerConfig
from kumotwist.core.connection import AuthInfo, ConnectionMeta, Identity
from kumotwist.core.errors import ConfigError, PolicyError, SecretUnavailable
from kumotwist.core.outcome import Peer
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import Response
from kumotwist.intake.smtp.listener import Listener, log
from kumotwist.intake.smtp.options import overlay
from kumotwist.intake.smtp.relay import Relay
from kumotwist.intake.smtp.transaction import Transaction
from kumotwist.net.drive import drive
from kumotwist.net.tls import ContextSources, ServerContext, TlsFacts
from kumotwist.proto.mime.trace import Reception
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
from kumotwist.proto.smtp.server import ServerRules, ServerSession

#: KumoMTA's name for how a name was proven by AUTH.
_AUTHENTICATION: Final = "SmtpAuthPlainAuthentication"

Reply: TypeAlias = tuple[int, str]
Decision: TypeAlias = Reply | Coroutine[Deferred[Any], Any, Reply]


class Conversation:
    """One client's session without its wire: who it is, what holds for it, what it hears."""

    __slots__ = (
        "_client",
        "_handles",
        "_local",
        "_peer",
        "_reception",
        "config",
        "conn",
        "core",
        "hostname",
        "listener",
        "relay",
        "session_id",
        "tls_context",
        "transaction",
    )

    def __init__(self, listener: Listener, client: tuple[str, int], local: tuple[str, int]) -> None:
        """`client` and `local` are address and port of the connection's ends."""
        self.listener = listener
        self.session_id = str(uuid.uuid4())
        self.conn = ConnectionMeta()
        self.conn.meta["reception_protocol"] = "ESMTP"
        self.tls_context: ServerContext | None = None
        self.transaction: Transaction | None = None
        self._handles = listener.policy.handles
        self._place(client, local)
        self.core = ServerSession(self._rules())

    # -- who it is and what holds for it ----------------------------------------------------------

    def relocate(self, client: tuple[str, int], local: tuple[str, int]) -> None:
        """The real ends are others (PROXY, XCLIENT): all that depends on them is worked out anew."""
        self._place(client, local)
        self.core.rules = self._rules()

    def _place(self, client: tuple[str, int], local: tuple[str, int]) -> None:
        self._client, self._local = client, local
        effective = self.listener.options.effective(client[0], local[0])
        self.conn.auth = attrs.evolve(self.conn.auth, peer_address=client[0])
        self.conn.meta["received_from"] = _endpoint(client)
        self.conn.meta["received_via"] = _endpoint(local)
        self._apply(effective.config)
        self.conn.meta.update(effective.meta)

    def _apply(self, config: SmtpListenerConfig) -> None:
        self.config = config
        self.hostname = config.hostname or self.listener.hostname
        self.conn.meta["hostname"] = self.hostname
        is_relay_host = self._client[0] in config.relay_hosts
        policy, via = self.listener.policy, _endpoint(self._local)
        self.relay = Relay(policy, self.conn, via, self._client[0], is_relay_host)
        self._forget_facts()

    def _forget_facts(self) -> None:
        self._peer: Peer | None = None
        self._reception: Reception | None = None

    def _rules(self) -> ServerRules:
        config = self.config
        return ServerRules(
            hostname=self.hostname,
            max_message_size=config.max_message_size,
            line_length=config.line_length_hard_limit,
            line_endings=config.invalid_line_endings,
            max_recipients=config.max_recipients_per_message,
            max_recipients_on_connection=config.max_messages_per_connection,
            client_timeout=config.client_timeout,
            allows_xclient=config.allow_xclient,
        )

    def tls_started(self, agreed: TlsFacts) -> None:
        """The handshake is done."""
        self.conn.meta["tls_cipher"] = agreed.cipher
        self.conn.meta["tls_protocol_version"] = agreed.version
        if agreed.peer_subject:
            self.conn.meta["tls_peer_subject_name"] = list(agreed.peer_subject)
        self._forget_facts()

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
        return 220, f"{self.hostname} {self.config.banner}"

    async def _welcome(self) -> Reply:
        await self._adjust()
        if self._handles("smtp_server_connection_accepted"):
            await self.listener.policy.smtp_server_connection_accepted(self.conn)
        return self._banner()

    async def _adjust(self) -> None:
        """Lay policy's parameters for this connection over the options."""
        if not self._handles("smtp_server_get_dynamic_parameters"):
            return
        policy, via = self.listener.policy, _endpoint(self._local)
        parameters = await policy.smtp_server_get_dynamic_parameters(via, self.conn)
        if not parameters:
            return
        try:
            self._apply(overlay(self.config, parameters))
        except ConfigError as error:
            raise PolicyError(f"smtp_server_get_dynamic_parameters: {error}") from error
        meta = parameters.get("meta")
        if isinstance(meta, dict):
            self.conn.meta.update(meta)
        self.core.rules = self._rules()

    def _on_answer(self, event: Answer) -> Decision:
        return event.code, event.text

    def _on_hello(self, event: Hello) -> Decision:
        self.conn.meta["ehlo_domain"] = event.domain
        self._forget_facts()
        if self._handles("smtp_server_ehlo"):
            return self._hello(event)
        return self._hello_reply(event, self.core.extensions() if event.is_extended else [])

    async def _hello(self, event: Hello) -> Reply:
        offered = self.core.extensions() if event.is_extended else None
        wanted = await self.listener.policy.smtp_server_ehlo(event.domain, self.conn, offered)
        return self._hello_reply(event, list(wanted if wanted is not None and event.is_extended else offered or []))

    def _hello_reply(self, event: Hello, extensions: list[str]) -> Reply:
        if not event.is_extended:
            return 250, f"Hello {event.domain}!"
        return 250, "\n".join([f"{self.hostname} Aloha {event.domain}", *extensions])

    def _on_mail(self, event: Mail) -> Decision:
        reason = self.listener.refusal()
        if reason is not None:
            return 421, f"4.3.2 {self.hostname} {reason}"
        if self._handles("smtp_server_mail_from"):
            return self._mail(event)
        return 250, f"OK <{event.address.email}>"

    async def _mail(self, event: Mail) -> Reply:
        await self.listener.policy.smtp_server_mail_from(event.address, self.conn)
        return 250, f"OK <{event.address.email}>"

    def _on_rcpt(self, event: Rcpt) -> Decision:
        if not self.relay.needs_no_policy or self._handles("smtp_server_rcpt_to"):
            return self._rcpt(event)
        return 250, f"OK <{event.address.email}>"

    async def _rcpt(self, event: Rcpt) -> Reply:
        sender = self.core.sender
        if sender is not None and not await self.relay.may_receive(sender, event.address):
            return 550, f"5.7.1 relaying not permitted for {_endpoint(self._client)}"
        if self._handles("smtp_server_rcpt_to"):
            await self.listener.policy.smtp_server_rcpt_to(event.address, self.conn)
        return 250, f"OK <{event.address.email}>"

    def _on_data(self, _: StartData) -> Decision:
        return replies.SEND_BODY

    def _on_body(self, event: EndOfData) -> Decision:
        listener = self.listener
        self.transaction = Transaction(
            listener.policy,
            listener.admission,
            listener.ids,
            self.config,
            self.conn,
            self.relay,
            self._reception or self._make_reception(),
            self._peer or self._make_peer(),
            self.session_id,
            listener.clock.seconds(),
        )
        return self.transaction.run(event)

    def _on_starttls(self, _: StartTls) -> Decision:
        self.tls_context = self.listener.tls.ready(self._tls_sources())
        return replies.READY_FOR_TLS if self.tls_context is not None else self._starttls()

    async def _starttls(self) -> Reply:
        try:
            self.tls_context = await self.listener.tls.context(self._tls_sources())
        except (SecretUnavailable, ConfigError) as error:
            log.error("STARTTLS is not possible: {error}", error=error)
            return replies.TLS_UNAVAILABLE
        return replies.READY_FOR_TLS

    def _tls_sources(self) -> ContextSources:
        return self.listener.tls_sources(self.config, self.hostname)

    def _on_credentials(self, event: Credentials) -> Decision:
        return self._authenticate(event)

    async def _authenticate(self, event: Credentials) -> Reply:
        attempted, auditor = Identity(event.authc, _AUTHENTICATION), self.listener.auditor
        try:
            proven = await self._proven(event)
        except CancelledError:
            raise
        except Exception:
            await auditor.authentication(attempted, False, self.conn.auth)
            raise
        if proven is None:
            await auditor.authentication(attempted, False, self.conn.auth)
            return replies.AUTH_INVALID
        self.conn.auth = self.conn.auth.merged(proven)
        self.conn.meta["authz_id"] = event.authz
        self.conn.meta["authn_id"] = event.authc
        self._forget_facts()
        await auditor.authentication(attempted, True, self.conn.auth)
        return replies.AUTH_OK

    async def _proven(self, event: Credentials) -> AuthInfo | None:
        """Who policy says that it is, or None: nobody."""
        if not self._handles("smtp_server_auth_plain"):
            return None
        policy = self.listener.policy
        verdict = await policy.smtp_server_auth_plain(event.authz, event.authc, event.password, self.conn)
        if isinstance(verdict, AuthInfo):
            if not verdict.is_authenticated:
                raise PolicyError("smtp_server_auth_plain returned an AuthInfo without identities")
            return verdict
        if verdict is False:
            return None
        return AuthInfo(
            identities=(Identity(event.authz, "SmtpAuthPlainAuthorization"), Identity(event.authc, _AUTHENTICATION))
        )

    def _on_xclient(self, event: Xclient) -> Decision:
        return self._xclient(event)

    async def _xclient(self, event: Xclient) -> Reply:
        meta, given = self.conn.meta, event.attributes
        for name in ("received_from", "received_via"):
            meta.setdefault(f"orig_{name}", meta[name])
        client = given.get("ADDR", self._client[0]), int(given.get("PORT", self._client[1]))
        local = given.get("DESTADDR", self._local[0]), int(given.get("DESTPORT", self._local[1]))
        self.relocate(client, local)
        await self._adjust()
        return self._banner()

    # -- facts for messages and records -----------------------------------------------------------

    def _make_peer(self) -> Peer:
        meta = self.conn.meta
        subject = meta.get("tls_peer_subject_name")
        self._peer = Peer(
            name=_text(meta.get("ehlo_domain")),
            addr=self._client[0],
            delivery_protocol="ESMTP",
            tls_cipher=_text(meta.get("tls_cipher")) or None,
            tls_protocol_version=_text(meta.get("tls_protocol_version")) or None,
            tls_peer_subject_name=tuple(map(str, subject)) if isinstance(subject, list) else None,
            session_id=self.session_id,
        )
        return self._peer

    def _make_reception(self) -> Reception:
        meta, core = self.conn.meta, self.core
        self._reception = Reception(
            ehlo_domain=_text(meta.get("ehlo_domain")),
            peer=self._client[0],
            hostname=self.hostname,
            local=self._local[0],
            protocol="ESMTPSA" if core.is_authenticated else "ESMTPS" if core.is_tls else "ESMTP",
            tls=f"{meta.get('tls_protocol_version')}:{meta.get('tls_cipher')}" if core.is_tls else "",
        )
        return self._reception

    def note_refusal(self, event: Event | None, code: int, text: str) -> None:
        """Log a 4xx or 5xx that the client hears, but not that we are shutting down or busy."""
        if code == 421 and text.startswith("4.3.2 "):
            return
        listener, core = self.listener, self.core
        listener.rejections += 1
        recipients = core.recipients
        if isinstance(event, Rcpt):
            recipients = (event.address,)
        record = Record(
            type=RecordType.REJECTION,
            event_time=listener.clock.seconds(),
            response=Response.parse(code, text, event.command if event is not None else None),
            sender=event.address.email if isinstance(event, Mail) else core.sender.email if core.sender else "",
            recipients=tuple([recipient.email for recipient in recipients]),
            peer=self._peer or self._make_peer(),
            session_id=self.session_id,
            meta=dict(self.conn.meta),
        )
        drive(listener.recorder.record(record), _ignore, _report)


def _ignore(_: object) -> None:
    """The record is written."""


def _report(error: BaseException) -> None:
    log.error("a Rejection record is lost: {error}", error=error)


def _endpoint(end: tuple[str, int]) -> str:
    address, port = end
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


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

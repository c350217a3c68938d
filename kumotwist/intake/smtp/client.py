"""The client of an SMTP session: who it is, and what holds for it.

Its address decides which of the listener's options hold; PROXY and XCLIENT may
correct it, and policy may lay its own parameters over them. What else is found
out on the way (name, TLS, identity) is kept in `conn`, which policy sees.

Public: `Client`, `Listening`, `endpoint`. What can go wrong: PolicyError for parameters that are none.
"""

from __future__ import annotations

import uuid
from typing import Protocol

import attrs

from kumotwist.config.listener import SmtpListenerConfig
from kumotwist.core.connection import AuthInfo, ConnectionMeta
from kumotwist.core.errors import ConfigError, PolicyError
from kumotwist.core.interfaces import SmtpPolicy
from kumotwist.core.json import JsonObject
from kumotwist.core.outcome import Peer
from kumotwist.intake.smtp.listener import tls_sources
from kumotwist.intake.smtp.options import ListenerOptions, overlay
from kumotwist.intake.smtp.relay import Relay
from kumotwist.net.tls import ContextSources, TlsFacts
from kumotwist.proto.mime.trace import Reception
from kumotwist.proto.smtp.server import ServerRules


class Listening(Protocol):
    """What of a listener concerns its clients; `hostname` is the machine's."""

    options: ListenerOptions
    policy: SmtpPolicy
    hostname: str


class Client:
    """One client, as far as it is known."""

    __slots__ = (
        "_listener", "_peer", "_reception", "config", "conn", "hostname", "local", "relay", "remote", "session_id",
    )  # fmt: skip

    def __init__(self, listener: Listening, remote: tuple[str, int], local: tuple[str, int]) -> None:
        """`remote` and `local` are address and port of the connection's ends."""
        self._listener = listener
        self.session_id = str(uuid.uuid4())
        self.conn = ConnectionMeta()
        self.conn.meta["reception_protocol"] = "ESMTP"
        self.place(remote, local)

    # -- what holds for it ------------------------------------------------------------------------

    def place(self, remote: tuple[str, int], local: tuple[str, int]) -> None:
        """These are the ends: all that depends on them is worked out anew."""
        self.remote, self.local = remote, local
        effective = self._listener.options.effective(remote[0], local[0])
        self.conn.auth = attrs.evolve(self.conn.auth, peer_address=remote[0])
        self.conn.meta["received_from"] = endpoint(remote)
        self.conn.meta["received_via"] = endpoint(local)
        self._apply(effective.config)
        self.conn.meta.update(effective.meta)

    def adjust(self, parameters: JsonObject) -> None:
        """Lay policy's parameters for this connection over the options. Raises PolicyError."""
        try:
            self._apply(overlay(self.config, parameters))
        except ConfigError as error:
            raise PolicyError(f"smtp_server_get_dynamic_parameters: {error}") from error
        meta = parameters.get("meta")
        if isinstance(meta, dict):
            self.conn.meta.update(meta)

    def _apply(self, config: SmtpListenerConfig) -> None:
        self.config = config
        self.hostname = config.hostname or self._listener.hostname
        self.conn.meta["hostname"] = self.hostname
        is_relay_host = self.remote[0] in config.relay_hosts
        via = endpoint(self.local)
        self.relay = Relay(self._listener.policy, self.conn, via, self.remote[0], is_relay_host)
        self._forget_facts()

    def rules(self) -> ServerRules:
        """What the wire core lets it do."""
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

    def tls_sources(self) -> ContextSources:
        """What it is shown and asked for at STARTTLS."""
        return tls_sources(self.config, self.hostname)

    # -- what is found out ------------------------------------------------------------------------

    def named(self, domain: str) -> None:
        """It has said HELO or EHLO."""
        self.conn.meta["ehlo_domain"] = domain
        self._forget_facts()

    def tls_started(self, agreed: TlsFacts) -> None:
        """The handshake is done."""
        self.conn.meta["tls_cipher"] = agreed.cipher
        self.conn.meta["tls_protocol_version"] = agreed.version
        if agreed.peer_subject:
            self.conn.meta["tls_peer_subject_name"] = list(agreed.peer_subject)
        self._forget_facts()

    def proven(self, auth: AuthInfo, authz: str, authc: str) -> None:
        """It has proved by AUTH who it is."""
        self.conn.auth = self.conn.auth.merged(auth)
        self.conn.meta["authz_id"] = authz
        self.conn.meta["authn_id"] = authc
        self._forget_facts()

    # -- facts for messages and records -----------------------------------------------------------

    def _forget_facts(self) -> None:
        self._peer: Peer | None = None
        self._reception: Reception | None = None

    def peer(self) -> Peer:
        """It as records have it."""
        if self._peer is None:
            meta = self.conn.meta
            subject = meta.get("tls_peer_subject_name")
            self._peer = Peer(
                name=_text(meta.get("ehlo_domain")),
                addr=self.remote[0],
                delivery_protocol="ESMTP",
                tls_cipher=_text(meta.get("tls_cipher")) or None,
                tls_protocol_version=_text(meta.get("tls_protocol_version")) or None,
                tls_peer_subject_name=tuple(map(str, subject)) if isinstance(subject, list) else None,
                session_id=self.session_id,
            )
        return self._peer

    def reception(self, *, is_authenticated: bool, is_tls: bool) -> Reception:
        """It as the Received header has it."""
        if self._reception is None:
            meta = self.conn.meta
            self._reception = Reception(
                ehlo_domain=_text(meta.get("ehlo_domain")),
                peer=self.remote[0],
                hostname=self.hostname,
                local=self.local[0],
                protocol="ESMTPSA" if is_authenticated else "ESMTPS" if is_tls else "ESMTP",
                tls=f"{meta.get('tls_protocol_version')}:{meta.get('tls_cipher')}" if is_tls else "",
            )
        return self._reception


def endpoint(end: tuple[str, int]) -> str:
    """Address and port as policy and records have them."""
    address, port = end
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

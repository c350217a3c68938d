"""A session that nobody has: what would hold for a client if it connected, for those who explain a policy.

It knows what a real `Conversation` knows of its client (the listener's options,
the connection's metadata, the relay rules), and has no wire, no admission and
no records. Handlers of policy are run by whoever asks.

Public: `Visitor`, `ImaginedSession`. What can go wrong: ConfigError for a listener that the policy does not start,
PolicyError out of the handlers that answer for the listener.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen

from kumotwist.config.listener import SmtpListenerConfig
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.connection import ConnectionMeta
from kumotwist.core.errors import ConfigError
from kumotwist.core.interfaces import SmtpPolicy
from kumotwist.core.message import Message
from kumotwist.intake.smtp.client import Client, endpoint
from kumotwist.intake.smtp.login import proven_by_password
from kumotwist.intake.smtp.options import ListenerOptions, local_end
from kumotwist.intake.smtp.relay import Fate
from kumotwist.proto.smtp.server import ServerSession

#: The client's port. Ours: any that a system gives to a client.
_PORT: Final = 50_000


@frozen
class Visitor:
    """Who would connect, to the listener of this number, and what it would say; a `user` has logged in."""

    peer: str = "127.0.0.1"
    hello: str = "localhost"
    user: str = ""
    listener: int = 1


@define
class _Listener:
    options: ListenerOptions
    policy: SmtpPolicy
    hostname: str


@define(eq=False)
class ImaginedSession:
    """The session of `visitor` under `policy`, whose `listeners` those are; a policy without any has one of defaults.

    `hostname` is the machine's. Raises ConfigError when there is no such listener.
    """

    policy: SmtpPolicy
    listeners: tuple[SmtpListenerConfig, ...]
    visitor: Visitor
    hostname: str
    _client: Client = field(init=False)

    def __attrs_post_init__(self) -> None:
        number, listeners = self.visitor.listener, self.listeners or (SmtpListenerConfig(),)
        if not 1 <= number <= len(listeners):
            started = f"{len(listeners)} ESMTP listener{'s' if len(listeners) > 1 else ''}"
            raise ConfigError(f"the policy starts {started}; there is no number {number}")
        peer, config = self.visitor.peer, listeners[number - 1]
        listener = _Listener(ListenerOptions(config), self.policy, self.hostname)
        self._client = Client(listener, (peer, _PORT), local_end(config, peer))

    @property
    def conn(self) -> ConnectionMeta:
        """The connection as policy sees it."""
        return self._client.conn

    @property
    def asks_for_domains(self) -> bool:
        """Whether `get_listener_domain` of policy has a say."""
        return self.policy.handles("get_listener_domain")

    async def adjust(self) -> None:
        """Lay what `smtp_server_get_dynamic_parameters` says over the listener's options. Raises PolicyError."""
        client = self._client
        parameters = await self.policy.smtp_server_get_dynamic_parameters(endpoint(client.local), client.conn)
        if parameters:
            client.adjust(parameters)

    async def hello(self) -> None:
        """Show the visitor's EHLO to policy, if it wants to see it. Raises PolicyError, Rejection."""
        said, client = self.visitor.hello, self._client
        client.named(said)
        if self.policy.handles("smtp_server_ehlo"):
            await self.policy.smtp_server_ehlo(said, client.conn, ServerSession(client.rules()).extensions())

    def log_in(self) -> None:
        """The visitor is who it says, if it says so; no password is asked for."""
        user = self.visitor.user
        if user:
            self._client.proven(proven_by_password(user, user), user, user)

    async def refuses(self, sender: EnvelopeAddress, recipient: EnvelopeAddress) -> str:
        """Why the listener itself would not take `recipient`, empty when it would. Raises PolicyError."""
        if await self._client.relay.may_receive(sender, recipient):
            return ""
        return self._not_relayed(f"{recipient.email}: 550 5.7.1 relaying not permitted for {self.visitor.peer}")

    async def discards(self, message: Message) -> str:
        """Why a received `message` would not be queued, empty when it would. Raises PolicyError."""
        fate, _ = await self._client.relay.judge(message)
        if fate is Fate.RECORD:
            return "it is a report, which is logged and goes no further (log_arf, log_oob of get_listener_domain)"
        return self._not_relayed("550 5.7.1 relaying not permitted") if fate is Fate.DROP else ""

    def _not_relayed(self, said: str) -> str:
        domains = "relay_from and relay_to of get_listener_domain do not allow it"
        domains = domains if self.asks_for_domains else "policy has no get_listener_domain that allows it"
        return (
            f"{said}: the client is not in relay_hosts of the listener on {self._client.config.listen}, and {domains}"
        )

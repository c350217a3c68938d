"""Channels that answer as a test says, in the place of the real ones, and a list of what was attempted.

`custom_lua` is the policy's own code and runs as it is, unless the test gives
it answers. Names of sites and ready queues are those of the real channels.

A test may name a route of a route table. Which one a message goes by is known
with the message and not with the connection, so a route that is unreachable is
found out when the message is there.

Public: `ScriptedChannels`, `Attempt`, `copied`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from kumotwist.config.queue import CustomLuaProtocol, Protocol
from kumotwist.core.errors import ConnectFailed
from kumotwist.core.interfaces import Channel, OpenRequest, Session
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer, Scope, Verdict
from kumotwist.core.way import Way
from kumotwist.egress.registry import Channels
from kumotwist.net.clock import Clock, sleep
from kumotwist.trial.policytest.answers import Answers, answered, is_unreachable, unreachable
from kumotwist.trial.policytest.roster import Roster
from kumotwist.trial.policytest.unscripted import Unscripted

#: Channels of which no receipt comes, by what log records call their protocol; all others speak HTTP.
_WITHOUT_RECEIPTS: Final = {"smtp": "ESMTP", "maildir": "Maildir", "null": "Null", "custom_lua": "Lua"}
_PROTOCOLS: Final = {**_WITHOUT_RECEIPTS, "smpp": "SMPP", "apns": "HTTP/2"}


@frozen
class Attempt:
    """One message that was handed to a channel, as it was then, and what came of it for its first recipient."""

    channel: str
    site: str
    source: str
    queue: str
    message: Message
    outcome: Outcome
    way: Way | None
    at: float


@define(eq=False)
class ScriptedChannels:
    """The channels of a world."""

    answers: Answers
    real: Channels
    clock: Clock
    #: By which route of a table a message goes, if any.
    way_of: Callable[[Message], Way | None]
    unscripted: Unscripted
    roster: Roster
    attempts: list[Attempt] = field(factory=list)
    _kept: dict[Protocol, Channel] = field(factory=dict)

    def channel_for(self, protocol: Protocol) -> Channel:
        """The channel for `protocol`; equal protocols share one."""
        channel = self._kept.get(protocol)
        if channel is None:
            channel = self._kept[protocol] = ScriptedChannel(self, protocol, self.real.channel_for(protocol))
        return channel


@define(eq=False)
class ScriptedChannel:
    """One of them; implements `core.interfaces.Channel`."""

    house: ScriptedChannels
    protocol: Protocol
    real: Channel

    @property
    def protocol_name(self) -> str:
        """The real one's."""
        return self.real.protocol_name

    @property
    def delivers_at_once(self) -> bool:
        """As the real one."""
        return self.real.delivers_at_once

    async def site_name(self, domain: str) -> str:
        """The real one's, by the DNS of the test."""
        return await self.real.site_name(domain)

    def open(self, request: OpenRequest) -> Session:
        """A session by the test's answers."""
        queue, source, name = request.queue_name, request.source.name, self.protocol_name
        ready_queue = f"{source}->{request.site}@{name}"
        names = (ready_queue, request.site, queue.text, queue.delivery_domain, source, name, self.protocol.channel)
        self.house.roster.meet(names)
        if isinstance(self.protocol, CustomLuaProtocol) and not self.house.answers.has(names):
            return WatchedSession(self, request, self.real.open(request))
        return ScriptedSession(self, request, names)

    def peer(self, request: OpenRequest) -> Peer:
        """Who answers."""
        name = self.protocol.channel
        has_receipts = name not in _WITHOUT_RECEIPTS
        return Peer(
            request.site,
            "192.0.2.1",
            _PROTOCOLS.get(name, "HTTP"),
            session_id="test",
            channel=name if has_receipts else None,
            account=getattr(self.protocol, "account", None) if has_receipts else None,
        )

    def note(self, request: OpenRequest, message: Message, outcomes: Sequence[Outcome]) -> None:
        """Keep what was attempted, with a copy of the message."""
        attempt = Attempt(
            self.protocol.channel,
            request.site,
            request.source.name,
            message.queue_name(),
            copied(message),
            outcomes[0],
            self.house.way_of(message),
            self.house.clock.seconds(),
        )
        self.house.attempts.append(attempt)


@define(eq=False)
class ScriptedSession:
    """Answers by the script; implements `core.interfaces.Session`."""

    channel: ScriptedChannel
    request: OpenRequest
    names: Sequence[str]
    max_batch: int = field(default=1, init=False)
    min_batch: int = field(default=1, init=False)
    batch_latency: float = field(default=0.0, init=False)
    is_connected: bool = field(default=False, init=False)

    async def connect(self) -> None:
        """Raises ConnectFailed when the script says so."""
        if self._is_unreachable(self.names):
            raise ConnectFailed(evolve(unreachable(), reason=None))
        self.is_connected = True

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """One answer for each message, and for each of its recipients of whom the script says something."""
        return [await self._deliver(message) for message in batch]

    async def _deliver(self, message: Message) -> Sequence[Outcome]:
        house, way = self.channel.house, self.channel.house.way_of(message)
        ready_queue, *others = self.names
        by_route = (f"{way.table}/{way.route}", way.route) if way is not None else ()
        names = (ready_queue, *by_route, *others)
        delay = house.answers.delay(names)
        if delay > 0.0:
            await sleep(house.clock, delay)
        if self._is_unreachable(by_route):
            self.is_connected = False
            return (evolve(unreachable(), reason=None),) * len(message.recipients)
        peer = self.channel.peer(self.request)
        all_alike: Outcome | None = None
        outcomes = []
        for recipient in message.recipients:
            own = (recipient.email,)
            if house.answers.has(own):
                outcome = await answered(house.answers.take(own), copied(message), peer, house.unscripted)
            else:
                all_alike = all_alike or await answered(
                    house.answers.take(names), copied(message), peer, house.unscripted
                )
                outcome = all_alike
            outcomes.append(self._scoped(outcome))
        self.channel.note(self.request, message, outcomes)
        self.is_connected = all(one.scope is not Scope.SESSION for one in outcomes)
        return outcomes

    def _is_unreachable(self, names: Sequence[str]) -> bool:
        answers = self.channel.house.answers
        if answers.is_down(names, self.channel.house.clock.seconds()):
            return True
        following = answers.peek(names)
        if following is None or not is_unreachable(following):
            return False
        answers.take(names)
        return True

    def _scoped(self, outcome: Outcome) -> Outcome:
        """A mail server refuses recipients and says nothing about the way to it."""
        is_refusal = outcome.verdict is not Verdict.DELIVERED and outcome.scope is Scope.MESSAGE
        is_mail = self.channel.protocol.channel == "smtp"
        return evolve(outcome, reason=None, scope=Scope.RECIPIENT if is_mail and is_refusal else outcome.scope)

    async def close(self) -> None:
        """Nothing to let go of."""
        self.is_connected = False


class WatchedSession:
    """A real session whose attempts are noted."""

    def __init__(self, channel: ScriptedChannel, request: OpenRequest, real: Session) -> None:
        self._channel = channel
        self._request = request
        self._real = real

    @property
    def max_batch(self) -> int:
        """The real one's."""
        return self._real.max_batch

    @property
    def min_batch(self) -> int:
        """The real one's."""
        return self._real.min_batch

    @property
    def batch_latency(self) -> float:
        """The real one's."""
        return self._real.batch_latency

    @property
    def is_connected(self) -> bool:
        """The real one's."""
        return self._real.is_connected

    async def connect(self) -> None:
        """As the real one."""
        await self._real.connect()

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """As the real one, noted."""
        outcomes = await self._real.deliver(batch)
        for message, of_this in zip(batch, outcomes, strict=True):
            self._channel.note(self._request, message, of_this)
        return outcomes

    async def close(self) -> None:
        """As the real one."""
        await self._real.close()


def copied(message: Message) -> Message:
    """The message as it is now, for tests to look at later."""
    return Message(
        message.id,
        message.sender,
        message.recipients,
        dict(message.meta),
        message.body,
        message.due,
        message.attempts,
        message.schedule,
    )

"""Channels that answer as a test says, in the place of the real ones, and a list of what was attempted.

`custom_lua` is the policy's own code and runs as it is, unless the test gives
it answers. Names of sites and ready queues are those of the real channels.

Public: `ScriptedChannels`, `Attempt`.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field, frozen

from kumotwist.config.queue import CustomLuaProtocol, Protocol
from kumotwist.core.errors import ConnectFailed
from kumotwist.core.interfaces import Channel, OpenRequest, Session
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.registry import Channels
from kumotwist.trial.policytest.answers import Answers, answered, is_unreachable


@frozen
class Attempt:
    """One message that was handed to a channel, as it was then, and what came of it for its first recipient."""

    channel: str
    site: str
    source: str
    queue: str
    message: Message
    outcome: Outcome


@define(eq=False)
class ScriptedChannels:
    """The channels of a world."""

    answers: Answers
    real: Channels
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
        if isinstance(self.protocol, CustomLuaProtocol) and not self.house.answers.has(names):
            return WatchedSession(self, request, self.real.open(request))
        return ScriptedSession(self, request, names)

    def note(self, request: OpenRequest, message: Message, outcomes: Sequence[Outcome]) -> None:
        """Keep what was attempted, with a copy of the message."""
        attempt = Attempt(
            self.protocol.channel, request.site, request.source.name, message.queue_name(), copied(message), outcomes[0]
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
        answers = self.channel.house.answers
        following = answers.peek(self.names)
        if following is not None and is_unreachable(following):
            answers.take(self.names)
            assert isinstance(following, Outcome)
            raise ConnectFailed(Outcome(following.verdict, following.response, following.scope))
        self.is_connected = True

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """One answer for each message, for all of its recipients."""
        peer = Peer(self.request.site, "192.0.2.1", self.channel.protocol.channel, session_id="test")
        found = []
        for message in batch:
            answer = self.channel.house.answers.take(self.names)
            outcome = await answered(answer, copied(message), peer)
            self.channel.note(self.request, message, (outcome,))
            found.append((outcome,) * len(message.recipients))
            if outcome.scope.value == "session":
                self.is_connected = False
        return found

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

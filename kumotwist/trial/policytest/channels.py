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
from kumotwist.core.ids import SpoolId
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
        if isinstance(self.protocol, CustomLuaProtocol) and self.house.answers.peek(names) is None:
            return OwnCodeSession(self, request, names, real=self.real.open(request))
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
        house, by_route = self.channel.house, self._routes(message)
        names = self._all_names(by_route)
        await self._be_slow(message)
        if self._is_out(message):
            return self._out(message)
        peer = self.channel.peer(self.request)
        all_alike: Outcome | None = None
        outcomes = []
        for recipient in message.recipients:
            own = (recipient.email,)
            if house.answers.peek(own) is not None:
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

    def _routes(self, message: Message) -> Sequence[str]:
        """What the route is called by which it goes; nothing without one."""
        way = self.channel.house.way_of(message)
        return (f"{way.table}/{way.route}", way.route) if way is not None else ()

    def _all_names(self, by_route: Sequence[str]) -> Sequence[str]:
        """All who may answer, the closest first."""
        ready_queue, *others = self.names
        return (ready_queue, *by_route, *others)

    async def _be_slow(self, message: Message) -> None:
        house, own = self.channel.house, [one.email for one in message.recipients]
        delay = house.answers.delay((*own, *self._all_names(self._routes(message))))
        if delay > 0.0:
            await sleep(house.clock, delay)

    def _is_out(self, message: Message) -> bool:
        """Whether the route of the message, or one of its recipients, cannot be reached."""
        answers, now = self.channel.house.answers, self.channel.house.clock.seconds()
        return self._is_unreachable(self._routes(message)) or answers.is_down(
            [one.email for one in message.recipients], now
        )

    def _out(self, message: Message) -> Sequence[Outcome]:
        """Nothing was handed over, as without a connection."""
        self.is_connected = False
        return (evolve(unreachable(), reason=None),) * len(message.recipients)

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


@define(eq=False)
class OwnCodeSession(ScriptedSession):
    """The policy's own code for the messages of which the script says nothing; these attempts are noted as well.

    Where the script says anything at all, the code is connected with the first message that is for it.
    """

    real: Session = field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        self.max_batch, self.min_batch = self.real.max_batch, self.real.min_batch
        self.batch_latency = self.real.batch_latency

    async def connect(self) -> None:
        """As the real one, unless the script says otherwise."""
        await ScriptedSession.connect(self)
        if self.channel.house.answers.is_empty:
            self.is_connected = False
            await self.real.connect()
            self.is_connected = True

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """As the script says of some, and the real one does with the others."""
        own = [message for message in batch if not self._is_scripted(message)]
        found = {message.id: await self._deliver(message) for message in batch if self._is_scripted(message)}
        is_connected = self.is_connected
        for message in own:
            await self._be_slow(message)
        for message in [one for one in own if self._is_out(one)]:
            found[message.id] = self._out(message)
        own = [message for message in own if message.id not in found]
        if own:
            found.update(await self._by_code(own))
            self.is_connected = is_connected and self.is_connected and self.real.is_connected
        return [found[message.id] for message in batch]

    def _is_scripted(self, message: Message) -> bool:
        """Whether there are answers for its route or one of its recipients."""
        own = [one.email for one in message.recipients]
        return self.channel.house.answers.peek((*self._routes(message), *own)) is not None

    async def _by_code(self, batch: Sequence[Message]) -> dict[SpoolId, Sequence[Outcome]]:
        try:
            if not self.real.is_connected:
                await self.real.connect()
        except ConnectFailed as error:
            return {message.id: (error.outcome,) * len(message.recipients) for message in batch}
        found = dict(zip([message.id for message in batch], await self.real.deliver(batch), strict=True))
        for message in batch:
            self.channel.note(self.request, message, found[message.id])
        return found

    async def close(self) -> None:
        """As the real one."""
        self.is_connected = False
        await self.real.close()


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

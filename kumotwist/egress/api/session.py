"""Sessions over an HTTP API: each call sent, each reply judged, every recipient accounted for.

The connection itself belongs to the HTTP client's pool; a session is the right
to have one request under way. It connects by making sure that the credentials
can be had.

Public: `ApiSession`, `ApiChannel`, `UNAUTHORIZED`, `judged`, `enter`, `peer_of`. What can go
wrong is an outcome: no connection (transient, ends the session), no reply to a request that
was sent (`on_unknown`), secrets that cannot be had or are none (the source rests).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.errors import ConnectFailed, SecretUnavailable, SessionEnded
from kumotwist.core.interfaces import OpenRequest
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer, Scope
from kumotwist.egress.api.credentials import Credentials
from kumotwist.egress.api.dialect import Call, Dialect, Refused, Target, Unreadable
from kumotwist.egress.api.discreet import discreet, without
from kumotwist.egress.api.options import ApiOptions, CallOptions
from kumotwist.egress.api.unanswered import Unanswered
from kumotwist.net.http import HttpClient, HttpError, HttpRequest, HttpResponse

log: Final = Logger()

#: After these, other credentials may help (RFC 9110 s15.5.2; AWS says 403), where a provider has no others.
UNAUTHORIZED: Final = frozenset((401, 403))


@frozen(eq=False)
class ApiChannel:
    """Implements `core.interfaces.Channel` for one account of a provider; `name` is the protocol's."""

    name: str
    options: CallOptions
    dialect: Dialect
    credentials: Credentials
    client: HttpClient
    peer: Peer
    now: Callable[[], float]
    #: Statuses after which credentials are read anew and the request is sent once more.
    unauthorized: frozenset[int] = UNAUTHORIZED
    #: Messages that a batch waits for, and for how long in seconds.
    min_batch: int = 1
    batch_latency: float = 0.0
    #: Each recipient's domain is a site of its own: messages name the hosts to call, and who waits for one
    #: that hangs should not be in the way of the others.
    has_own_sites: bool = False

    delivers_at_once: bool = False

    @property
    def protocol_name(self) -> str:
        """The name that policies write."""
        return self.name

    async def site_name(self, domain: str) -> str:
        """The provider's host, whatever the recipient's domain: its limits hold for all of them together."""
        return domain if self.has_own_sites else self.peer.name

    def open(self, request: OpenRequest) -> ApiSession:  # noqa: ARG002
        """A session that is not yet connected."""
        return ApiSession(self)


class ApiSession:
    """Implements `core.interfaces.Session`; connects once, a new session starts afresh."""

    def __init__(self, channel: ApiChannel) -> None:
        self._channel = channel
        self._unanswered = Unanswered(channel.name, channel.options, channel.peer)
        self.is_connected = False
        self._has_connected = False

    @property
    def max_batch(self) -> int:
        """As many messages as the provider takes in one request."""
        return self._channel.dialect.max_batch

    @property
    def min_batch(self) -> int:
        """As the channel says."""
        return self._channel.min_batch

    @property
    def batch_latency(self) -> float:
        """As the channel says."""
        return self._channel.batch_latency

    async def connect(self) -> None:
        """Make sure of the credentials. Raises ConnectFailed, SessionEnded the second time."""
        if self._has_connected:
            raise SessionEnded("a session over an HTTP API connects once")
        self._has_connected = True
        try:
            await self._channel.credentials.get()
        except SecretUnavailable as error:
            raise ConnectFailed(self._unanswered.without_secret(error)) from None
        self.is_connected = True

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """Send what the dialect plans, one call after another; what ends the session ends the rest, too."""
        rows: list[list[Outcome | None]] = [[None] * len(message.recipients) for message in batch]
        end: Outcome | None = None
        try:
            for step in self._channel.dialect.plan(batch, self._channel.now()):
                if isinstance(step, Refused):
                    outcomes: Sequence[Outcome] = [step.outcome] * len(step.targets)
                elif end is not None:
                    outcomes = [end] * len(step.targets)
                else:
                    outcomes = await self._perform(step)
                    end = next((one for one in outcomes if one.scope in (Scope.SESSION, Scope.SOURCE)), None)
                enter(rows, step.targets, outcomes)
        except CancelledError:
            self.is_connected = False
            raise
        if end is not None and end.scope is Scope.SESSION:
            self.is_connected = False
        forgotten = self._unanswered.transient("the channel made no request for this recipient")
        return [[forgotten if one is None else one for one in row] for row in rows]

    async def close(self) -> None:
        """Nothing of our own to close; the pool closes what is idle."""
        self.is_connected = False

    async def _perform(self, call: Call) -> Sequence[Outcome]:
        """Send a call, once more with new credentials if they were refused and there are any."""
        channel = self._channel
        try:
            secrets = await channel.credentials.get()
            for is_last in (False, True):
                request = authorized(channel.dialect, call.request, secrets, channel.now())
                reply = await channel.client.send(request)
                if reply.code not in channel.unauthorized or is_last or not await channel.credentials.renew(secrets):
                    break
                secrets = await channel.credentials.get()
        except SecretUnavailable as error:
            return [self._unanswered.without_secret(error)] * len(call.targets)
        except HttpError as error:
            return [self._unanswered.without_reply(error, call.is_idempotent)] * len(call.targets)
        except ValueError as error:
            return [self._unanswered.impossible(error)] * len(call.targets)
        return discreet(self._judged(call, reply), request, secrets)

    def _judged(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        return judged(self._channel.dialect, call, reply, self._unanswered)


def judged(dialect: Dialect, call: Call, reply: HttpResponse, unanswered: Unanswered) -> Sequence[Outcome]:
    """What the dialect makes of a reply; one that it cannot read leaves the message where it is."""
    try:
        return dialect.classify(call, reply)
    except Unreadable as error:
        return [unanswered.unknown(str(error), call.is_idempotent)] * len(call.targets)
    except (ValueError, TypeError, KeyError, LookupError, AttributeError):
        log.failure("a reply of {name} cannot be read", name=unanswered.name)
    if 200 <= reply.code < 300:
        outcome = unanswered.unknown("a reply that cannot be read", call.is_idempotent)
    else:
        outcome = unanswered.transient(f"{reply.code} and a reply that cannot be read")
    return [outcome] * len(call.targets)


def peer_of(name: str, options: ApiOptions) -> Peer:
    """Who answers, for records: the host of the API."""
    host = urlsplit(options.base_url).netloc.rpartition("@")[2]
    return Peer(host, host, "HTTP", channel=name, account=options.account)


def enter(rows: list[list[Outcome | None]], targets: Sequence[Target], outcomes: Sequence[Outcome]) -> None:
    """Put the outcomes where their targets stand."""
    for (message, recipient), outcome in zip(targets, outcomes, strict=False):
        rows[message][recipient] = outcome


def authorized(dialect: Dialect, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:
    """The request with the credentials. A secret that cannot stand in it is the operator's fault, not the message's.

    Raises SecretUnavailable.
    """
    try:
        return dialect.authorize(request, secrets, now)
    except ValueError as error:
        raise SecretUnavailable(without(secrets, f"cannot stand in a request: {error}"), permanent=True) from None

"""Sessions over one HTTP/2 connection: all calls of a batch at once, each on a stream of its own.

For providers that are spoken to like any other API, by a dialect, but whose
connection is worth having to oneself. What a peer surely did not process (it
goes away, it refused the stream) is sent once more in place, over a new
connection where that is called for: GOAWAY is how such a peer says good night,
and costs no message an attempt.

Public: `StreamSession`, `StreamChannel`, `StreamDialect`. What can go wrong is an
outcome, as with `egress.api.session`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias, cast
from urllib.parse import urlsplit

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.python.failure import Failure

from kumotwist.core.errors import ConnectFailed, SecretUnavailable, SessionEnded
from kumotwist.core.interfaces import OpenRequest
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer, Scope
from kumotwist.egress.api.credentials import Credentials
from kumotwist.egress.api.dialect import Call, Dialect, Refused
from kumotwist.egress.api.discreet import discreet
from kumotwist.egress.api.options import CallOptions
from kumotwist.egress.api.session import authorized, enter, judged
from kumotwist.egress.api.streamkeep import StreamKeep
from kumotwist.egress.api.unanswered import Unanswered
from kumotwist.egress.sources import check_plumbed
from kumotwist.net.http import HttpError, HttpRequest, HttpResponse
from kumotwist.net.http2 import Http2Settings
from kumotwist.net.http2connect import Destination, TlsHttp2Connection
from kumotwist.net.http2stream import Http2Request

#: Messages of one `deliver`. Ours: enough to fill a connection over 100 ms of distance with 2,000 a second, and
#: few enough that a crash in the middle repeats no more than that.
MAX_BATCH: Final = 500
_HTTPS: Final = 443

_Answer: TypeAlias = HttpResponse | Exception


class StreamDialect(Dialect, Protocol):
    """A dialect that knows when its credentials were refused, and which of its headers differ from call to call."""

    @property
    def own_headers(self) -> frozenset[bytes]:
        """Names, in lower case."""
        ...

    def is_unproven(self, reply: HttpResponse) -> bool:
        """Whether other credentials may change this reply."""
        ...

    def is_goodbye(self, reply: HttpResponse) -> bool:
        """Whether the peer did not take it because it is about to close the connection."""
        ...


@frozen(eq=False, kw_only=True)
class StreamChannel:
    """Implements `core.interfaces.Channel` for one account of a provider; `name` is the protocol's."""

    name: str
    options: CallOptions
    base_url: str
    dialect: Callable[[Peer], StreamDialect]
    credentials: Credentials
    keep: StreamKeep
    peer: Peer

    delivers_at_once: bool = False

    @property
    def protocol_name(self) -> str:
        """The name that policies write."""
        return self.name

    async def site_name(self, domain: str) -> str:  # noqa: ARG002
        """The provider's host, whatever the recipient's domain."""
        return self.peer.name

    def open(self, request: OpenRequest) -> StreamSession:
        """A session that is not yet connected."""
        return StreamSession(self, request)


class StreamSession:
    """Implements `core.interfaces.Session`; connects once, a new session starts afresh."""

    min_batch: int = 1
    batch_latency: float = 0.0

    def __init__(self, channel: StreamChannel, request: OpenRequest) -> None:
        self._channel = channel
        self._request = request
        self._connection: TlsHttp2Connection | None = None
        self._has_connected = False
        url = urlsplit(channel.base_url)
        self._settings = Http2Settings(timeout=channel.options.timeout)
        self._destination = Destination(
            host=url.hostname or "",
            port=url.port or _HTTPS,
            source_address=request.source.source_address,
            timeout=request.path.connect_timeout,
        )
        self._take(channel.peer)

    @property
    def max_batch(self) -> int:
        """As many as the peer answers at once, once that is known."""
        connection = self._connection
        return MAX_BATCH if connection is None else max(1, min(MAX_BATCH, connection.stream_limit))

    @property
    def is_connected(self) -> bool:
        """Whether the connection takes requests; a goodbye while idle has been noticed by now."""
        return self._connection is not None and self._connection.is_usable

    async def connect(self) -> None:
        """Make sure of the credentials and open the connection. Raises ConnectFailed, SessionEnded the second time."""
        if self._has_connected:
            raise SessionEnded("a session over an HTTP API connects once")
        self._has_connected = True
        try:
            await self._channel.credentials.get()
            await self._open()
        except SecretUnavailable as error:
            raise ConnectFailed(self._unanswered.without_secret(error)) from None
        except HttpError as error:
            raise ConnectFailed(self._unanswered.without_reply(error)) from None

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """Send it all at once; what surely was not processed, or for want of credentials, once more."""
        rows: list[list[Outcome | None]] = [[None] * len(message.recipients) for message in batch]
        calls: list[Call] = []
        for step in self._dialect.plan(batch, self._channel.keep.services.clock.seconds()):
            if isinstance(step, Refused):
                enter(rows, step.targets, [step.outcome] * len(step.targets))
            else:
                calls.append(step)
        try:
            await self._perform(calls, rows)
        except CancelledError:
            self._let_go()
            raise
        if any(one is not None and one.scope is Scope.SESSION for row in rows for one in row):
            self._let_go()
        forgotten = self._unanswered.transient("the channel made no request for this recipient")
        return [[forgotten if one is None else one for one in row] for row in rows]

    async def close(self) -> None:
        """Give the connection back, or say goodbye and wait no longer than `net.http2.FAREWELL` for the peer."""
        connection, self._connection = self._connection, None
        if connection is not None and not self._channel.keep.give_back(connection, self._destination, self._settings):
            await connection.close()

    # -- the calls -------------------------------------------------------------------------------

    async def _perform(self, calls: Sequence[Call], rows: list[list[Outcome | None]]) -> None:
        secrets: Mapping[str, str] | None = None
        for is_last in (False, True):
            if not calls:
                return
            try:
                secrets = secrets or await self._channel.credentials.get()
                if not self.is_connected and is_last:
                    await self._open()
                answers = await self._exchange(calls, secrets)
                fresh = None if is_last else await self._renewed(answers, secrets)
            except SecretUnavailable as error:
                self._settle(calls, self._unanswered.without_secret(error), rows)
                return
            except HttpError as error:
                self._settle(calls, self._unanswered.without_reply(error), rows)
                return
            again: list[Call] = []
            for call, answer in zip(calls, answers, strict=True):
                if not is_last and self._goes_again(answer, fresh is not None):
                    again.append(call)
                else:
                    enter(rows, call.targets, discreet(self._judged(call, answer), call.request, secrets))
            calls, secrets = again, fresh or secrets

    async def _exchange(self, calls: Sequence[Call], secrets: Mapping[str, str]) -> Sequence[_Answer]:
        """Each call's reply or what went wrong, in order. Cancelling it resets what is under way."""
        sent = [self._send(call.request, secrets) for call in calls]
        results = await DeferredList(sent, consumeErrors=True)
        answers = [cast("_Answer", value.value if isinstance(value, Failure) else value) for _, value in results]
        if any(isinstance(one, CancelledError) for one in answers):
            raise CancelledError
        return answers

    def _send(self, request: HttpRequest, secrets: Mapping[str, str]) -> Deferred[HttpResponse]:
        connection = self._connection
        failed: Deferred[HttpResponse] = Deferred()
        if connection is None:
            failed.errback(HttpError("not connected"))
            return failed
        try:
            ready = authorized(self._dialect, request, secrets, self._channel.keep.services.clock.seconds())
            return connection.send(self._http2(ready))
        except (SecretUnavailable, ValueError) as error:
            failed.errback(error)
            return failed

    def _http2(self, request: HttpRequest) -> Http2Request:
        own_names = self._dialect.own_headers
        shared: list[tuple[bytes, bytes]] = []
        own: list[tuple[bytes, bytes]] = []
        for name, value in request.headers:
            lowered = name.lower()
            (own if lowered in own_names else shared).append((lowered, value))
        return Http2Request(request.method, request.url[self._origin :].encode(), shared, own, request.body or b"")

    async def _renewed(self, answers: Sequence[_Answer], used: Mapping[str, str]) -> Mapping[str, str] | None:
        """Other credentials than were used, if those were refused and there are others."""
        dialect, credentials = self._dialect, self._channel.credentials
        if not any(isinstance(one, HttpResponse) and dialect.is_unproven(one) for one in answers):
            return None
        return await credentials.get() if await credentials.renew(used) else None

    def _goes_again(self, answer: _Answer, has_fresh: bool) -> bool:
        if not isinstance(answer, HttpResponse):
            return isinstance(answer, HttpError) and not answer.was_sent
        if self._dialect.is_goodbye(answer):
            self._let_go()
            return True
        return has_fresh and self._dialect.is_unproven(answer)

    def _judged(self, call: Call, answer: _Answer) -> Sequence[Outcome]:
        if isinstance(answer, HttpResponse):
            return judged(self._dialect, call, answer, self._unanswered)
        if isinstance(answer, HttpError):
            outcome = self._unanswered.without_reply(answer, call.is_idempotent)
        elif isinstance(answer, SecretUnavailable):
            outcome = self._unanswered.without_secret(answer)
        elif isinstance(answer, ValueError):
            outcome = self._unanswered.impossible(answer)
        else:
            raise answer
        return [outcome] * len(call.targets)

    def _settle(self, calls: Sequence[Call], outcome: Outcome, rows: list[list[Outcome | None]]) -> None:
        for call in calls:
            enter(rows, call.targets, [outcome] * len(call.targets))

    # -- the connection --------------------------------------------------------------------------

    async def _open(self) -> None:
        self._let_go()
        channel, source = self._channel, self._request.source.source_address
        try:
            if source is not None:
                check_plumbed(source)
        except OSError as error:
            raise HttpError(f"{channel.peer.name}: {error}") from None
        connection = await channel.keep.take(self._destination, self._settings)
        self._connection = connection
        self._take(_peer_of(channel.peer, connection))

    def _take(self, peer: Peer) -> None:
        """Speak in the name of `peer` from now on."""
        channel = self._channel
        self._dialect = channel.dialect(peer)
        self._unanswered = Unanswered(channel.name, channel.options, peer)
        base = channel.base_url.rstrip("/")
        self._origin = len(base) - len(urlsplit(base).path)

    def _let_go(self) -> None:
        """Close the connection without waiting for it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _peer_of(peer: Peer, connection: TlsHttp2Connection) -> Peer:
    """The provider with the facts of one connection."""
    facts = connection.facts
    return evolve(
        peer,
        addr=connection.peer_address,
        source_address=connection.local_address,
        tls_cipher=facts.cipher if facts else None,
        tls_protocol_version=facts.protocol_version if facts else None,
        tls_peer_subject_name=facts.subject_name if facts else None,
    )

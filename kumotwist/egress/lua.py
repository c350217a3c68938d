"""The custom_lua channel: policy delivers, through the object that its constructor event returned.

How the return of `send` or `send_batch` becomes outcomes (KumoMTA's table):

    result                       verdict, the same for every message of the batch
    a string                     delivered, code 200, the string as text
    kumo.reject 400 to 499       transient; 421 also ends the session
    kumo.reject, any other code  permanent, 2yz and 3yz included
    any other error              transient, code 400; ends the session

Public: `LuaKind`, `LuaChannel`, `LuaSession`, `rejected`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.queue import CustomLuaProtocol
from kumotwist.core.errors import ConnectFailed, PolicyError, Rejection, SessionEnded
from kumotwist.core.interfaces import LuaConnection, LuaConnector, OpenRequest
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer, Scope, Verdict
from kumotwist.core.response import INTERNAL_PREFIX, Response
from kumotwist.core.stats import Sample
from kumotwist.egress.services import Services

log: Final = Logger()


def rejected(rejection: Rejection, peer: Peer) -> Outcome:
    """What `kumo.reject` means for every message at hand; its text is taken as it is."""
    response = Response(rejection.code, rejection.text)
    if 400 <= rejection.code < 500:
        scope = Scope.SESSION if rejection.code == 421 else Scope.MESSAGE
        return Outcome(Verdict.TRANSIENT, response, scope, peer)
    return Outcome(Verdict.PERMANENT, response, Scope.MESSAGE, peer)


class LuaSession:
    """Implements `core.interfaces.Session`; connects once, a new session starts afresh."""

    def __init__(self, connector: LuaConnector, protocol: CustomLuaProtocol, request: OpenRequest) -> None:
        self._connector = connector
        self._protocol = protocol
        self._request = request
        self._connection: LuaConnection | None = None
        self._has_connected = False
        self._peer = Peer(f"Lua via {protocol.constructor}", "0.0.0.0", "Lua")

    @property
    def max_batch(self) -> int:
        """`batch_size`."""
        return max(self._protocol.batch_size, 1)

    @property
    def min_batch(self) -> int:
        """`min_batch_size`, no more than a batch holds."""
        return min(self._protocol.min_batch_size, self.max_batch)

    @property
    def batch_latency(self) -> float:
        """`max_batch_latency`, no longer than the path keeps an idle session."""
        return min(self._protocol.max_batch_latency, self._request.path.idle_timeout)

    @property
    def is_connected(self) -> bool:
        """Whether the constructor has returned and nothing has ended the session since."""
        return self._connection is not None

    async def connect(self) -> None:
        """Run the constructor event; only once."""
        if self._has_connected:
            raise SessionEnded("a custom_lua session connects once")
        self._has_connected = True
        try:
            self._connection = await self._connector.connect(self._protocol.constructor, self._request.queue_name)
        except (PolicyError, Rejection) as error:
            text = f"{INTERNAL_PREFIX}failed to connect to any candidate hosts: {error}"
            raise ConnectFailed(Outcome(Verdict.TRANSIENT, Response(400, text), Scope.SESSION)) from None

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """One call into policy for the batch. Cancelling it ends the session."""
        outcome = await self._send(batch)
        return [[outcome] * len(message.recipients) for message in batch]

    async def close(self) -> None:
        """Call the connection's `close`, if it has one; errors are logged."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close()
        except CancelledError:
            raise
        except Exception:  # policy code may fail in any way, and the session is over regardless
            log.failure("closing {constructor} failed", constructor=self._protocol.constructor)

    async def _send(self, batch: Sequence[Message]) -> Outcome:
        connection = self._connection
        if connection is None:
            return self._failed("not connected")
        try:
            disposition = await connection.send(batch, self._protocol.batch_size != 1)
        except CancelledError:
            await self.close()
            raise
        except Rejection as rejection:
            outcome = rejected(rejection, self._peer)
        except PolicyError as error:
            # It may have failed after its request had left.
            outcome = evolve(self._failed(f"sender:send method failed: {error}"), is_ambiguous=True)
        else:
            return Outcome(Verdict.DELIVERED, Response(200, disposition), Scope.MESSAGE, self._peer)
        if outcome.scope is Scope.SESSION:
            await self.close()
        return outcome

    def _failed(self, text: str) -> Outcome:
        response = Response(400, f"{INTERNAL_PREFIX}error in deliver_message: {text}")
        return Outcome(Verdict.TRANSIENT, response, Scope.SESSION, self._peer)


class LuaChannel:
    """Implements `core.interfaces.Channel` for one constructor."""

    delivers_at_once: bool = False

    def __init__(self, connector: LuaConnector, protocol: CustomLuaProtocol) -> None:
        self._connector = connector
        self._protocol = protocol

    @property
    def protocol_name(self) -> str:
        """`lua:` and the constructor's name."""
        return f"lua:{self._protocol.constructor}"

    async def site_name(self, domain: str) -> str:
        """The domain itself: policy knows where that is."""
        return domain

    def open(self, request: OpenRequest) -> LuaSession:
        """A session that is not yet connected."""
        return LuaSession(self._connector, self._protocol, request)


class LuaKind:
    """Makes custom_lua channels."""

    options = CustomLuaProtocol

    def __init__(self, services: Services) -> None:
        self._connector = services.lua

    def make(self, protocol: CustomLuaProtocol) -> LuaChannel:
        """The channel for one constructor and its batching."""
        return LuaChannel(self._connector, protocol)

    def samples(self) -> Sequence[Sample]:
        """No numbers."""
        return ()

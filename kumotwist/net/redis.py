"""A connection to Redis that is made again when it is lost.

Importing this imports Twisted's global reactor, for txredisapi does: it is
imported when a policy asks for Redis, and the reactor runs by then.

Public: `Redis`, `RedisUnavailable`. What can go wrong: RedisUnavailable, for an
answer that does not come or is an error; ConfigError for a server that does not
let us in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, cast

import txredisapi
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.redis import RedisNode, RedisOptions
from kumotwist.core.errors import ConfigError, KumotwistError
from kumotwist.net.ending import why_ended
from kumotwist.net.securedendpoint import SecuredEndpoint

log: Final = Logger()

#: Seconds that the start waits for the server. Ours: a server that is away must not keep mail waiting for long.
START_PATIENCE: Final = 5.0


#: What is wrong with what the policy says of the server, in its words; all else passes, and is tried again.
_REFUSAL: Final = re.compile(r"WRONGPASS|NOAUTH|NOPERM|AUTH|DB index|invalid password")


class RedisUnavailable(KumotwistError):
    """Redis is not there, or cannot do what is asked for. Do without it; it may be back at any time."""


class Redis:
    """One server."""

    def __init__(self, options: RedisOptions, reactor: Any) -> None:
        self.server: Final = options.server
        self._reactor = reactor
        self._factory = _Factory(self.server, options.response_timeout)
        #: Fires with why the first try came to nothing, None when it did not.
        self._first: Deferred[str | None] = Deferred()
        self._factory.deferred.addBoth(self._first_came)
        self._factory.startConnecting(_endpoint(self.server, options.connect_timeout, reactor))

    @property
    def is_connected(self) -> bool:
        """Whether questions can be asked."""
        return bool(self._factory.size)

    async def connected(self) -> bool:
        """Wait for the first connection, for `START_PATIENCE` at most; whether it is there.

        Raises ConfigError when the server refuses us; one that is not ready yet is away.
        """
        self._first.addTimeout(START_PATIENCE, self._reactor)
        try:
            why = await self._first
        except defer.TimeoutError:
            return False
        if why is not None and _REFUSAL.search(why):
            raise ConfigError(f"kumo.configure_redis_throttles: {self.server}: {why}")
        return why is None

    async def run(self, script: str, key: str, arguments: Sequence[object]) -> Any:
        """What a Lua script answers for `key`. Raises RedisUnavailable."""
        if not self.is_connected:
            raise RedisUnavailable(f"no connection to Redis at {self.server}")
        try:
            return await cast("Any", self._factory.handler).eval(script, [key], list(arguments))
        except CancelledError:
            raise
        except (txredisapi.RedisError, OSError) as error:
            raise RedisUnavailable(f"Redis at {self.server}: {error}") from error

    async def close(self) -> None:
        """Let go of it."""
        await self._factory.disconnect()

    def _first_came(self, outcome: object) -> None:
        if not self._first.called:
            self._first.callback(why_ended(outcome) if isinstance(outcome, Failure) else None)


def _endpoint(server: RedisNode, timeout: float, reactor: Any) -> Any:
    plain: Any = HostnameEndpoint(reactor, server.host, server.port, timeout=timeout)
    return SecuredEndpoint(optionsForClientTLS(server.host), plain) if server.is_tls else plain


class _Factory(txredisapi.RedisFactory):  # type: ignore[misc]  # it has no annotations
    """Connects for ever: a password may be put right at the server, too."""

    def __init__(self, server: RedisNode, timeout: float) -> None:
        super().__init__(
            str(server),
            # Always one: a connection is up only once the server has answered on it.
            server.database or 0,
            1,
            isLazy=True,
            password=server.password,
            username=server.username,
            replyTimeout=timeout,
        )

    def stopTrying(self) -> Any:
        return succeed(None)

"""Vault reads off the reactor: a few threads, the sessions they share, and timely renewal.

Stands between `secrets.store` and the blocking `secrets.vault`.

Public: `VaultPool`. What can go wrong: SecretUnavailable from the session, or
because too many reads wait already.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from attrs import define, field

from kumotwist.core.errors import Overload, SecretUnavailable
from kumotwist.core.json import JsonObject
from kumotwist.net.blocking import BlockingThreads, ThreadReactor
from kumotwist.net.clock import DelayedCall
from kumotwist.net.tasks import Tasks
from kumotwist.secrets.connection import VaultConnection

if TYPE_CHECKING:
    from kumotwist.secrets.vault import VaultSession

#: A read takes 1.5 ms, so four threads serve thousands of reads a second, and
#: no more than four hang in an outage.
THREADS: Final = 4
#: Reads that may wait for a thread: far above the number of secrets of any
#: policy; more means that the paths are made from messages.
MAX_WAITING: Final = 1000
#: Seconds until a renewal for which no thread was free is tried again: a third of the lease is left then.
BUSY_RETRY: Final = 5.0
#: Sessions kept, one per identity at one Vault.
MAX_SESSIONS: Final = 100


@define(eq=False)
class VaultPool:
    """Reads secrets from Vaults; threads start with the first read."""

    reactor: ThreadReactor
    tasks: Tasks
    _threads: BlockingThreads = field(init=False)
    _sessions: dict[VaultConnection, VaultSession] = field(factory=dict, init=False)
    _renewals: dict[VaultConnection, DelayedCall] = field(factory=dict, init=False)
    _is_closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._threads = BlockingThreads(self.reactor, "vault", THREADS, MAX_WAITING)

    async def read(self, connection: VaultConnection, mount: str, path: str, version: int) -> JsonObject:
        """All fields of one secret. Raises SecretUnavailable.

        May be cancelled; the request itself then runs to its end.
        """
        session = self._session(connection)
        try:
            return await self._threads.run(session.read, mount, path, version)
        except Overload as error:
            raise SecretUnavailable(f"Vault at {connection.place}: {error}") from None
        finally:
            self._plan_renewal(session)

    async def close(self) -> None:
        """Stop renewing, wait for what runs (one request's time-out at most) and end the threads."""
        self._is_closed = True
        for renewal in self._renewals.values():
            if renewal.active():
                renewal.cancel()
        self._renewals.clear()
        await self._threads.close()

    def _session(self, connection: VaultConnection) -> VaultSession:
        session = self._sessions.get(connection)
        if session is None:
            # hvac and requests take 50 ms and 8 MiB of each process; most policies name no Vault.
            from kumotwist.secrets.vault import VaultSession

            if len(self._sessions) >= MAX_SESSIONS:
                self._drop(next(iter(self._sessions)))
            session = self._sessions[connection] = VaultSession(connection, self.reactor.seconds, time.sleep)
        return session

    def _drop(self, connection: VaultConnection) -> None:
        del self._sessions[connection]
        renewal = self._renewals.pop(connection, None)
        if renewal is not None and renewal.active():
            renewal.cancel()

    def _plan_renewal(self, session: VaultSession) -> None:
        if session.renew_at is None or self._is_closed or session.connection in self._renewals:
            return
        if self._sessions.get(session.connection) is not session:
            return
        delay = max(0.0, session.renew_at - self.reactor.seconds())
        self._renewals[session.connection] = self.reactor.callLater(delay, self._start_renewal, session)

    def _start_renewal(self, session: VaultSession) -> None:
        self.tasks.spawn("vault token renewal", self._renew(session))

    async def _renew(self, session: VaultSession) -> None:
        """Renew when due; a login meanwhile may have moved that."""
        if session.renew_at is not None and session.renew_at <= self.reactor.seconds():
            try:
                await self._threads.run(session.renew)
            except Overload:
                session.renew_at = self.reactor.seconds() + BUSY_RETRY
        self._renewals.pop(session.connection, None)
        self._plan_renewal(session)

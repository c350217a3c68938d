"""Limits that hold for several machines, counted in a Redis server.

`RedisDesk` answers the questions that workers ask about limits; between it and
them stand the same slices as between workers and their supervisor. Rates are
the generic cell rate algorithm in a script, by the server's clock. A connection
slot is a member of a sorted set with a time when it lapses, which is put off as
long as the slot is held: the slots of a machine that is gone come free.

As long as Redis cannot be asked, limits hold for each machine by itself.

Public: `RedisDesk`, `SharedLimits`. What can go wrong: nothing that the caller hears of; the log tells when Redis goes
and comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol
from uuid import uuid4

from attrs import define, field
from twisted.logger import Logger

from kumotwist.core.errors import KumotwistError
from kumotwist.core.interfaces import Lease, Limits
from kumotwist.core.units import Limit, Throttle
from kumotwist.net.clock import Clock
from kumotwist.net.tasks import Tasks
from kumotwist.service.limits import LeasedLimits

log: Final = Logger()

#: Keeps our keys apart from others' in the same database, KumoMTA's among them.
_PREFIX: Final = "kumotwist:"
#: Seconds after which a slot lapses that nobody puts off. Ours: so long do the slots of a dead machine stay taken.
SLOT_LIFE: Final = 60
#: Seconds between puttings off: two may be missed.
RENEWAL: Final = 20.0
#: Slots that one question puts off; Redis' Lua unpacks some 8,000.
_CHUNK: Final = 1_000

#: Times in microseconds. The tolerance of one is for the rounding of intervals that are no whole number of them.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
arrival = math.min(arrival, now + burst * interval)
if want == 0 then
  return {0, string.format('%.0f', arrival - now)}
end
local room = now + (burst - 1) * interval - arrival
if room < -1 then
  return {0, string.format('%.0f', math.ceil(-room))}
end
local granted = math.min(want, math.max(1, math.floor(room / interval + 0.000001) + 1))
arrival = arrival + granted * interval
redis.call('SET', KEYS[1], string.format('%.3f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 1000)
return {granted, '0'}
"""
_GIVE_BACK: Final = """
local arrival, left = redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
if arrival and left > 0 then
  redis.call('SET', KEYS[1], string.format('%.3f', arrival - ARGV[1]), 'PX', left)
end
return 0
"""
_ACQUIRE: Final = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 1)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then
  return 0
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[2] * 2)
return 1
"""
_RENEW: Final = """
local lapses = redis.call('TIME')[1] + ARGV[1]
for index = 2, #ARGV do
  redis.call('ZADD', KEYS[1], lapses, ARGV[index])
end
redis.call('EXPIRE', KEYS[1], ARGV[1] * 2)
return 0
"""
_RELEASE: Final = "return redis.call('ZREM', KEYS[1], ARGV[1])"


class Server(Protocol):
    """What is asked of `net.redis.Redis`."""

    async def run(self, script: str, key: str, arguments: Sequence[object]) -> Any:
        """The answer of a script. Raises RedisUnavailable."""
        ...


@define(eq=False)
class RedisDesk:
    """`limits.LimitsDesk` at a Redis server; `house` holds when there is no answer, and for slots always."""

    server: Server
    house: Limits
    tasks: Tasks
    _held: dict[str, list[tuple[str, Lease]]] = field(factory=dict, init=False)
    _is_complaining: bool = field(default=False, init=False)
    _node: str = field(factory=lambda: uuid4().hex, init=False)
    _count: int = field(default=0, init=False)

    async def take(self, key: str, spec: Throttle, want: int) -> tuple[int, float]:
        """Draw up to `want` events; with 0 come the seconds until there may be one, or all when none is wanted."""
        interval = spec.period * 1_000_000 / spec.limit
        answer = await self._ask(_TAKE, _rate_key(key, spec), (repr(interval), spec.burst, want))
        if answer is not None:
            return int(answer[0]), int(answer[1]) / 1_000_000
        if want == 0:
            return 0, await self.house.until_full(key, spec)
        wait = await self.house.throttle(key, spec)
        return (0, wait) if wait > 0 else (1, 0.0)

    def give_back(self, key: str, spec: Throttle, count: int) -> None:
        """Return unused events, without waiting for the answer."""
        unused = repr(count * spec.period * 1_000_000 / spec.limit)
        self._tell(_GIVE_BACK, _rate_key(key, spec), (unused,))

    async def acquire(self, key: str, limit: int, waits: bool) -> bool:
        """Take one of `limit` slots: on this machine, and then over all of them."""
        lease = await self.house.acquire(key, Limit(limit), waits)
        if lease is None:
            return False
        self._count += 1
        member = f"{self._node}:{self._count}"
        try:
            answer = await self._ask(_ACQUIRE, _slots_key(key), (limit, SLOT_LIFE, member))
        except BaseException:
            # Cancelled: it may have been granted all the same.
            lease.release()
            self._tell(_RELEASE, _slots_key(key), (member,))
            raise
        if answer == 0:
            lease.release()
            return False
        self._held.setdefault(key, []).append((member, lease))
        return True

    def release(self, key: str) -> None:
        """Give a slot back, without waiting for the answer."""
        held = self._held.get(key)
        if not held:
            return
        member, lease = held.pop()
        if not held:
            del self._held[key]
        lease.release()
        self._tell(_RELEASE, _slots_key(key), (member,))

    def renew(self) -> None:
        """Put off when our slots lapse; one that Redis has lost, or never heard of, is there again."""
        for key, held in self._held.items():
            members = [member for member, _ in held]
            for start in range(0, len(members), _CHUNK):
                self._tell(_RENEW, _slots_key(key), (SLOT_LIFE, *members[start : start + _CHUNK]))

    async def _ask(self, script: str, key: str, arguments: Sequence[object]) -> Any:
        """The answer, or None when there is none."""
        try:
            answer = await self.server.run(script, key, arguments)
        except KumotwistError as error:
            if not self._is_complaining:
                self._is_complaining = True
                log.error("{error}; until it answers, limits hold for each machine by itself", error=error)
            return None
        if self._is_complaining:
            self._is_complaining = False
            log.info("Redis answers again: limits hold for all machines together")
            self.renew()
        return answer

    def _tell(self, script: str, key: str, arguments: Sequence[object]) -> None:
        async def told() -> None:
            await self._ask(script, key, arguments)

        self.tasks.spawn("telling Redis about limits", told())


def _rate_key(key: str, spec: Throttle) -> str:
    return f"{_PREFIX}rate:{key}:{spec.limit}:{spec.burst}:{spec.period}"


def _slots_key(key: str) -> str:
    return f"{_PREFIX}slots:{key}"


@define(eq=False)
class SharedLimits:
    """`core.interfaces.Limits`: those of the house, and once `share` is called those of all machines.

    What a policy calls `local:` stays in the house.
    """

    house: Limits
    clock: Clock
    _desk: RedisDesk | None = field(default=None, init=False)
    _leased: LeasedLimits | None = field(default=None, init=False)
    _renewed: float = field(default=0.0, init=False)

    def share(self, desk: RedisDesk) -> None:
        """Ask `desk` from now on."""
        self._desk, self._leased = desk, LeasedLimits(desk, self.clock)

    async def throttle(self, key: str, spec: Throttle) -> float:
        """Take one event: 0.0 when it may pass, else whole seconds to wait."""
        return await self._for(spec.local).throttle(key, spec)

    async def until_full(self, key: str, spec: Throttle) -> float:
        """Seconds until the whole burst may pass again."""
        return await self._for(spec.local).until_full(key, spec)

    async def acquire(self, key: str, limit: Limit, waits: bool = False) -> Lease | None:
        """One of `limit` slots, or None when all are taken."""
        return await self._for(limit.local).acquire(key, limit, waits)

    def sweep(self) -> None:
        """Give back what lies unused and put off what is held; to be called about once a second."""
        if self._leased is None or self._desk is None:
            return
        self._leased.sweep()
        if self.clock.seconds() - self._renewed >= RENEWAL:
            self._renewed = self.clock.seconds()
            self._desk.renew()

    def _for(self, is_local: bool) -> Limits:
        return self.house if is_local or self._leased is None else self._leased

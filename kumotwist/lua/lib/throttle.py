"""`kumo.make_throttle`: rates of the policy's own, for the whole machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kumotwist.core.interfaces import Limits
from kumotwist.core.message import Message
from kumotwist.core.units import Throttle
from kumotwist.lua.binding import Function, facade, text
from kumotwist.lua.lib.time import pause
from kumotwist.net.clock import Clock

#: Keeps policies' throttles apart from our own.
PREFIX: Final = "lua-user-throttle-"


class ThrottleLibrary:
    """`kumo.make_throttle`."""

    namespace = ""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"make_throttle": self.make_throttle}

    def make_throttle(self, name: object, spec: object) -> UserThrottle:
        """A throttle: a rate such as `100/h` that all throttles of that name and rate use up together."""
        rate = Throttle.parse(text(spec, "spec"))
        return UserThrottle(self._limits, self._clock, PREFIX + text(name, "name"), rate)


def _span(seconds: float) -> Mapping[str, int]:
    """Whole seconds as KumoMTA tells durations."""
    return {"secs": int(seconds), "nanos": 0}


_METHODS: Final = ("delay_message_if_throttled", "sleep_if_throttled", "throttle")


@facade("throttle", methods=_METHODS)
class UserThrottle:
    """A named rate."""

    def __init__(self, limits: Limits, clock: Clock, key: str, rate: Throttle) -> None:
        self._limits = limits
        self._clock = clock
        self._key = key
        self._rate = rate

    async def throttle(self) -> Mapping[str, object]:
        """Take one: `throttled`, `limit`, `remaining`, `reset_after` and, when throttled, `retry_after`."""
        wait = await self._limits.throttle(self._key, self._rate)
        until_full = await self._limits.until_full(self._key, self._rate)
        rate = self._rate
        result: dict[str, object] = {"throttled": wait > 0, "limit": rate.burst, "reset_after": _span(until_full)}
        result["remaining"] = 0 if wait > 0 else rate.left(until_full)
        if wait > 0:
            result["retry_after"] = _span(wait)
        return result

    async def sleep_if_throttled(self) -> bool:
        """Wait until one may pass; whether there was a wait."""
        has_waited = False
        while (wait := await self._limits.throttle(self._key, self._rate)) > 0:
            has_waited = True
            await pause(self._clock, wait)
        return has_waited

    async def delay_message_if_throttled(self, message: object) -> bool:
        """Take one, or move the message's due time to when one may pass; whether it was moved."""
        if not isinstance(message, Message):
            raise ValueError("delay_message_if_throttled needs a message")
        message.check_may_change()
        wait = await self._limits.throttle(self._key, self._rate)
        if wait > 0:
            due = self._clock.seconds() + wait
            message.due = message.schedule.next_allowed(due) if message.schedule else due
        return wait > 0

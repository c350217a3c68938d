"""`kumo.time`: moments, spans of time and waiting."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred

from kumotwist.lua.binding import Function, duration, text
from kumotwist.lua.lib.timevalue import Time, TimeDelta, now, parse
from kumotwist.net.clock import Clock


class TimeLibrary:
    """The functions of `kumo.time`, and `kumo.sleep`."""

    namespace = "time"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {
            "now": self.now,
            "parse_duration": self.parse_duration,
            "parse_rfc3339": self.parse_rfc3339,
            "sleep": self.sleep,
        }

    def now(self) -> Time:
        """The present moment."""
        return now(self._clock)

    def parse_duration(self, value: object) -> TimeDelta:
        """The span in a number of seconds or a text like `5 minutes`."""
        return TimeDelta.from_seconds(duration(value, "duration"))

    def parse_rfc3339(self, timestamp: object) -> Time:
        """The moment in an RFC 3339 text."""
        return parse(text(timestamp, "timestamp"), self._clock)

    async def sleep(self, seconds: object) -> None:
        """Pause this handler for so many seconds, or a duration text; all else goes on."""
        await pause(self._clock, duration(seconds, "seconds"))


class SleepAlias:
    """`kumo.sleep`, the older name of `kumo.time.sleep`."""

    namespace = ""

    def __init__(self, times: TimeLibrary) -> None:
        self._times = times

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"sleep": self._times.sleep}


async def pause(clock: Clock, seconds: float) -> None:
    """Wait; may be cancelled."""
    ended: Deferred[None] = Deferred(lambda _: call.cancel())
    call = clock.callLater(seconds, ended.callback, None)
    await ended

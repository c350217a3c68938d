"""When a message is tried again, and when it has become too old for that.

Pure arithmetic on a queue's configuration; `requeue` applies it. Ages and
delays are in seconds, times in Unix seconds.

Public: `backoff`, `retry_delay`, `expiry_of_retry`, `expiry_of_wait`,
`last_chance`, `MAX_RANDOM_DELAY`.
"""

from __future__ import annotations

from math import ldexp
from typing import Final

from kumotwist.config.queue import QueueConfig
from kumotwist.core.message import Message
from kumotwist.core.response import Response
from kumotwist.core.schedule import Schedule, format_rfc3339
from kumotwist.core.units import format_duration

#: A message put back without being charged an attempt waits up to so long (KumoMTA).
MAX_RANDOM_DELAY: Final = 60.0
#: Jitter is a twentieth of the retry interval and at most a minute, half of it either way (KumoMTA).
_JITTER_SHARE: Final = 20.0
_MAX_JITTER: Final = 60.0
#: The grain of the timer wheel: a shorter delay would spin.
_MIN_DELAY: Final = 1
#: Seconds before a message is too old at which it is tried for the last time: the wheel turns once a second.
_LAST_TURN: Final = 2.0
#: Doublings after which any interval exceeds every possible age; keeps the float finite.
_MAX_DOUBLINGS: Final = 64


def backoff(config: QueueConfig, attempts: int) -> int:
    """Whole seconds to wait after `attempts` earlier ones: doubled each time, up to the bound."""
    delay = ldexp(config.retry_interval, min(attempts, _MAX_DOUBLINGS))
    if config.max_retry_interval is not None:
        delay = min(delay, config.max_retry_interval)
    return int(delay)


def retry_delay(config: QueueConfig, attempts: int, chance: float, at_least: float = 0.0) -> float:
    """The backoff with jitter; `chance` is random in [0, 1), `at_least` the peer's wish."""
    magnitude = min(config.retry_interval / _JITTER_SHARE, _MAX_JITTER)
    jitter = int(magnitude * chance - magnitude / 2)
    return max(backoff(config, attempts) + jitter, _MIN_DELAY, at_least)


def expiry_of_retry(config: QueueConfig, message: Message, delay: float, now: float) -> Response | None:
    """The end of a message whose next attempt in `delay` seconds would be too late; None when it is not.

    Expiry is judged when a message is put back, so a message ends before it
    reaches `max_age`. An expiry set with the message's schedule rules alone.
    """
    if message.schedule is not None and message.schedule.expires is not None:
        return _scheduled_expiry(message.schedule, message.schedule.expires, now + delay)
    age = now - message.began + delay
    if age <= config.max_age:
        return None
    text = (
        f"5.4.7 Next delivery time would be {format_duration(age)} after creation, "
        f"which exceeds max_age={format_duration(config.max_age)}"
    )
    return Response.parse(551, text)


def expiry_of_wait(config: QueueConfig, message: Message) -> Response | None:
    """The end of a message that was put back uncharged and is too old at its `due`, or None."""
    if message.schedule is not None and message.schedule.expires is not None:
        return _scheduled_expiry(message.schedule, message.schedule.expires, message.due)
    age = message.due - message.began
    if age < config.max_age:
        return None
    text = f"5.4.7 Next delivery time {format_duration(age)} > {format_duration(config.max_age)}"
    return Response.parse(551, text)


def last_chance(config: QueueConfig, message: Message) -> float:
    """The last time, in Unix seconds, at which the message may be tried: a turn of the wheel before it is too old."""
    if message.schedule is not None and message.schedule.expires is not None:
        return message.schedule.expires - _LAST_TURN
    return message.began + config.max_age - _LAST_TURN


def _scheduled_expiry(schedule: Schedule, expires: float, due: float) -> Response | None:
    due = schedule.next_allowed(due)
    if due < expires:
        return None
    text = (
        f"5.4.7 Next delivery time would be at {format_rfc3339(due)} which exceeds "
        f"the expiry time {format_rfc3339(expires)} configured via set_scheduling"
    )
    return Response.parse(551, text)

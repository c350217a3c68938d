"""kumo.time: moments, spans and waiting."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.luabox import LuaBox
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from kumotwist.core.errors import PolicyError
from kumotwist.lua.lib.time import SleepAlias, TimeLibrary
from kumotwist.lua.lib.timevalue import TimeDelta, parse

NOW = 1_700_000_000.25  # 2023-11-14T22:13:20.25Z


@pytest.fixture
def clock():
    clock = Clock()
    clock.advance(NOW)
    return clock


@pytest.fixture
def box(clock):
    times = TimeLibrary(clock)
    return LuaBox(times, SleepAlias(times))


def test_moments(box):
    """Fields, texts and arithmetic of a Time."""
    box.now("""
    local t = kumo.time.now()
    assert(t.year == 2023 and t.month == 11 and t.day == 14 and t.hour == 22 and t.minute == 13 and t.second == 20)
    assert(t.unix_timestamp == 1700000000 and t.unix_timestamp_millis == 1700000000250)
    assert(math.type(t.unix_timestamp) == 'integer')
    assert(t.rfc3339 == '2023-11-14T22:13:20.250+00:00' and tostring(t) == '2023-11-14 22:13:20.250 UTC')
    assert(t.rfc2822 == 'Tue, 14 Nov 2023 22:13:20 +0000', t.rfc2822)
    assert(t:format '%H:%M:%S %Y' == '22:13:20 2023')
    assert(t.elapsed.seconds == 0)
    local hour = kumo.time.parse_duration '1h'
    assert((t + hour).hour == 23 and (t - hour).hour == 21 and (t + hour) - t == hour)
    assert(t == kumo.time.parse_rfc3339 '2023-11-14T23:13:20.25+01:00' and t ~= t + hour and t < t + hour)
    assert(tostring(kumo.time.parse_rfc3339 '1970-01-01T00:00:01Z') == '1970-01-01 00:00:01 UTC')
    assert(kumo.time.parse_rfc3339('1970-01-01T00:00:01Z').rfc2822 == 'Thu, 1 Jan 1970 00:00:01 +0000')
    """)


def test_spans(box):
    """The example of KumoMTA's documentation, and every unit."""
    box.now("""
    local delta1, delta2 = kumo.time.parse_duration(20), kumo.time.parse_duration '10 seconds'
    assert((delta2 - delta1).seconds == -10 and (delta1 + delta2).seconds == 30)
    local d = kumo.time.parse_duration '1500ms'
    assert(d.seconds == 1.5 and d.milliseconds == 1500 and d.microseconds == 1500000 and d.nanoseconds == 1500000000)
    assert(tostring(d) == '1s 500ms' and d.human == tostring(d))
    assert(kumo.time.parse_duration('5 minutes').human == '5m' and kumo.time.parse_duration(0).human == '0s')
    assert((delta2 - delta1).human == '-10s' and kumo.time.parse_duration('2 days 3h').human == '2days 3h')
    assert(delta2 < delta1 and delta1 <= delta1 and d == kumo.time.parse_duration(1.5))
    """)


@pytest.mark.parametrize(
    ("lua", "text"),
    [
        ("kumo.time.parse_duration('soon')", "is not a duration"),
        ("kumo.time.parse_duration(-1)", "cannot be negative"),
        ("kumo.time.parse_rfc3339('2023-11-14 22:13')", "not an RFC 3339 time: .*no UTC offset"),
        ("kumo.time.parse_rfc3339('yesterday')", "not an RFC 3339 time"),
        ("kumo.time.now() + 5", "a TimeDelta is needed"),
        ("kumo.time.now() + kumo.time.now()", "a TimeDelta is needed"),
        ("kumo.time.now() + kumo.time.parse_duration '9000 years'", "years 1 and 9999"),
        ("kumo.sleep('tomorrow')", "seconds: .*is not a duration"),
    ],
)
def test_mistakes_are_told_in_words(box, lua, text):
    """What is no time says so."""
    with pytest.raises(PolicyError, match=text):
        box.now(f"return {lua}")


@given(st.datetimes(min_value=dt.datetime(1000, 1, 1), timezones=st.just(dt.UTC)))
def test_rfc3339_round_trip(moment):
    """Any moment survives its text, to the microsecond."""
    parsed = parse(moment.isoformat(), Clock())
    assert parse(parsed.rfc3339, Clock()) == parsed
    assert dt.datetime.fromisoformat(parsed.rfc3339) == moment


@given(st.integers(-(2**62), 2**62))
def test_spans_add_up(nanoseconds):
    """The printed units make the span again."""
    units = {"y": 31_557_600e9, "month": 2_630_016e9, "day": 86_400e9, "h": 3600e9, "m": 60e9, "s": 1e9}
    units |= {"ms": 1e6, "us": 1e3, "ns": 1}
    total = 0
    for part in TimeDelta(nanoseconds).human.lstrip("-").split():
        digits = "".join(letter for letter in part if letter.isdigit())
        unit = part[len(digits) :]
        total += int(digits) * int(units[unit.removesuffix("s") if unit.endswith(("days", "months")) else unit])
    assert total == abs(nanoseconds)


@pytest.mark.parametrize("name", ["kumo.time.sleep", "kumo.sleep"])
def test_sleep_holds_up_nobody(box, clock, name):
    """A handler that sleeps goes on after its time, not before."""
    work = Deferred.fromCoroutine(box.run(f"{name}(2.5); return 'awake'"))
    clock.advance(2.4)
    assert not work.called
    clock.advance(0.2)
    assert work.result == "awake"


def test_a_cancelled_sleep_leaves_nothing_behind(box, clock):
    """A handler that is given up leaves no timer."""
    work = Deferred.fromCoroutine(box.run("kumo.sleep(60)"))
    work.addErrback(lambda failure: failure.trap(CancelledError))
    work.cancel()
    assert clock.getDelayedCalls() == []

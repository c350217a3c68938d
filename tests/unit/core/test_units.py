"""Durations, rates and limits as operators write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.units import Limit, Throttle, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5 minutes", 300), ("1h 30m", 5400), ("20m", 1200), ("250ms", 0.25), (30, 30), (1.5, 1.5), ("0", 0)],
)  # fmt: skip
def test_reads_durations(text: str | float, seconds: float) -> None:
    """Humantime text or a number of seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "five minutes", "5 fortnights", "-1s", "1h 30", "m", -1, float("inf"), True])
def test_refuses_what_is_no_duration(text: str | float) -> None:
    """The error shows a correct example or what was wrong."""
    with pytest.raises(ValueError, match=r"duration|time unit"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**8))
def test_printed_durations_read_back(seconds: int) -> None:
    """What a record prints can be pasted into a policy."""
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("spec", "throttle"),
    [
        ("100/s", Throttle(100, 1)),
        ("1,000/h", Throttle(1000, 3600)),
        ("local:20/30s,max_burst=1", Throttle(20, 30, 1, True)),
        ("1_000 / 2min", Throttle(1000, 120)),
        ("5/day", Throttle(5, 86400)),
    ],
)
def test_reads_rates(spec: str, throttle: Throttle) -> None:
    """KumoMTA's grammar for throttles."""
    assert Throttle.parse(spec) == throttle
    assert Throttle.parse(str(throttle)) == throttle


@pytest.mark.parametrize("spec", ["0/s", "5", "5/seconds", "x/s", "5/0s", "-5/s", "5/s,burst=1", ",/s"])
def test_refuses_what_is_no_rate(spec: str) -> None:
    """Plurals are not units, and nothing would ever pass a rate of 0."""
    with pytest.raises(ValueError, match=r"rate|number|period"):
        Throttle.parse(spec)


@pytest.mark.parametrize(
    ("spec", "limit"), [(32, Limit(32)), ("1,000", Limit(1000)), ("local:20", Limit(20, True)), (0, Limit(0))]
)
def test_reads_limits(spec: int | str, limit: Limit) -> None:
    """A number, or text with separators and `local:`."""
    assert Limit.parse(spec) == limit


@pytest.mark.parametrize("spec", [-1, True, "x", "", "1.5", "local:"])
def test_refuses_what_is_no_limit(spec: int | str) -> None:
    """A limit is a whole number of things."""
    with pytest.raises(ValueError, match=r"limit|number"):
        Limit.parse(spec)

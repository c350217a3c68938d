"""Scheduling constraints."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.schedule import Schedule, format_rfc3339, parse_rfc3339

OFFICE = {"dow": "Mon,Tue,Wednesday,Thu,Fri", "tz": "Europe/Berlin", "start": "09:00:00", "end": "17:00:00"}


def at(text: str) -> float:
    return parse_rfc3339(text)


@pytest.mark.parametrize(
    ("due", "allowed"),
    [
        ("2026-01-05T10:00:00+01:00", "2026-01-05T10:00:00+01:00"),
        ("2026-01-05T03:00:00+01:00", "2026-01-05T09:00:00+01:00"),
        ("2026-01-05T18:00:00+01:00", "2026-01-06T09:00:00+01:00"),
        ("2026-01-09T18:00:00+01:00", "2026-01-12T09:00:00+01:00"),
        # over the change to summer time
        ("2026-03-27T18:00:00+01:00", "2026-03-30T09:00:00+02:00"),
    ],
)
def test_an_attempt_waits_for_the_window(due: str, allowed: str) -> None:
    """Mail for office hours goes out in office hours, in the zone named."""
    assert Schedule.parse(dict(OFFICE)).next_allowed(at(due)) == at(allowed)


def test_first_attempt_holds_back() -> None:
    """Nothing goes out before it, and it is itself moved into the window."""
    schedule = Schedule.parse({**OFFICE, "first_attempt": "2026-01-10T00:00:00Z"})
    assert schedule.next_allowed(at("2026-01-05T10:00:00Z")) == at("2026-01-12T09:00:00+01:00")


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"dow": "Mon"}, "go together"),
        ({**OFFICE, "dow": "Someday"}, "unknown day"),
        ({**OFFICE, "tz": "Mars/Olympus"}, "time zone"),
        ({**OFFICE, "start": "18:00:00"}, "after end"),
        ({"first_attempt": "2026-01-10T00:00:00"}, "UTC offset"),
        ({"expires": 5}, "RFC 3339"),
        ({"expire": "2026-01-10T00:00:00Z"}, "unknown scheduling key"),
    ],
)
def test_refuses_nonsense(spec: dict[str, object], word: str) -> None:
    """The error says which key and why."""
    with pytest.raises(ValueError, match=word):
        Schedule.parse(spec)  # type: ignore[arg-type]


@given(st.floats(min_value=0, max_value=3e9))
def test_the_next_moment_is_never_earlier_and_lies_in_the_window(due: float) -> None:
    """Whatever the due time, the constraint holds and is reached within days."""
    schedule = Schedule.parse(dict(OFFICE))
    allowed = schedule.next_allowed(due)
    assert due <= allowed <= due + 4 * 86400
    assert schedule.next_allowed(allowed) == allowed


def test_survives_the_spool() -> None:
    """What is written reads back."""
    schedule = Schedule.parse({**OFFICE, "expires": "2026-02-01T00:00:00Z"})
    assert Schedule.parse(schedule.to_json()) == schedule
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()
    assert format_rfc3339(moment) == "2026-01-01T00:00:00Z"

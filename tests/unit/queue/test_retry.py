"""Retry and expiry arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from kumotwist.config.queue import QueueConfig
from kumotwist.core.address import NULL_SENDER
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.core.schedule import Schedule
from kumotwist.queue.retry import backoff, expiry_of_retry, expiry_of_wait, retry_delay

NOW = 1_800_000_000.0


def message_of_age(age, **schedule):
    message = Message(IdGenerator(lambda: NOW - age)(), NULL_SENDER, (), {}, b"")
    message.schedule = Schedule(**schedule) if schedule else None
    return message


def test_the_delay_doubles_up_to_the_bound():
    """20 minutes, 40, 80 and so on; never more than max_retry_interval."""
    assert [backoff(QueueConfig(), attempts) for attempts in range(4)] == [1200, 2400, 4800, 9600]
    bounded = QueueConfig(retry_interval=60.0, max_retry_interval=100.0)
    assert [backoff(bounded, attempts) for attempts in range(3)] == [60, 100, 100]
    flat = QueueConfig(retry_interval=60.0, max_retry_interval=60.0)
    assert [backoff(flat, attempts) for attempts in (0, 7, 60_000)] == [60, 60, 60]


@given(interval=st.floats(1, 1e6), attempts=st.integers(0, 65535), chance=st.floats(0, 1, exclude_max=True))
def test_jitter_is_a_fortieth_either_way_and_half_a_minute_at_most(interval, attempts, chance):
    """Retries of many messages do not fall together, and stay close to the schedule."""
    config = QueueConfig(retry_interval=interval, max_retry_interval=interval * 8)
    delay = retry_delay(config, attempts, chance)
    most = min(interval / 20, 60) / 2
    assert delay == int(delay)
    assert delay >= 1
    if delay > 1:
        assert abs(delay - backoff(config, attempts)) <= most


def test_the_peers_wish_is_a_lower_bound():
    """A Retry-After longer than the backoff is honoured, a shorter one changes nothing."""
    config = QueueConfig(retry_interval=60.0)
    assert retry_delay(config, 0, 0.5, 600.0) == 600.0
    assert retry_delay(config, 0, 0.5, 10.0) == 60.0


def test_a_message_expires_when_its_next_attempt_would_be_too_late():
    """The text names both times, as KumoMTA's does."""
    config = QueueConfig(max_age=3600.0)
    assert expiry_of_retry(config, message_of_age(1000), 2599.0, NOW) is None
    expired = expiry_of_retry(config, message_of_age(1000), 2660.0, NOW)
    assert expired.to_line() == ("551 5.4.7 Next delivery time would be 1h 1m after creation, which exceeds max_age=1h")


def test_an_expiry_of_its_own_rules_alone():
    """set_scheduling{expires=} replaces max_age, in both directions."""
    config = QueueConfig(max_age=3600.0)
    assert expiry_of_retry(config, message_of_age(9999, expires=NOW + 100), 99.0, NOW) is None
    expired = expiry_of_retry(config, message_of_age(0, expires=NOW + 100), 100.0, NOW)
    assert expired.code == 551
    assert "exceeds the expiry time 2027-01-15T08:01:40Z configured via set_scheduling" in expired.content


def test_a_message_that_was_only_held_up_expires_at_its_age_too():
    """Throttling does not keep a message alive beyond max_age."""
    message = message_of_age(100)
    message.due = NOW + 3499
    assert expiry_of_wait(QueueConfig(max_age=3600.0), message) is None
    message.due = NOW + 3501
    assert "1h 1s > 1h" in expiry_of_wait(QueueConfig(max_age=3600.0), message).content

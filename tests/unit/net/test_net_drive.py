"""Coroutines run to their first wait without a Deferred."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from kumotwist.net.drive import drive


class Ends:
    def __init__(self):
        self.seen = []

    def done(self, value):
        self.seen.append(("done", value))

    def failed(self, error):
        self.seen.append(("failed", type(error)))


@pytest.fixture
def ends():
    return Ends()


async def returns(*waits):
    return [await wait for wait in waits]


def test_without_a_wait_it_ends_at_once(ends):
    """A handler that does not wait costs no Deferred."""
    assert drive(returns(), ends.done, ends.failed).has_ended
    assert ends.seen == [("done", [])]


def test_waits_one_after_another(ends):
    """Results of what it waits for come back, whenever they come."""
    first, second = Deferred(), Deferred()
    driven = drive(returns(first, second), ends.done, ends.failed)
    second.callback(2)
    assert not driven.has_ended
    first.callback(1)
    assert ends.seen == [("done", [1, 2])]


def test_failures_arrive_inside(ends):
    """A failed wait raises in the coroutine, and what it raises is reported."""
    wait = Deferred()
    drive(returns(wait), ends.done, ends.failed)
    wait.errback(ValueError("x"))
    assert ends.seen == [("failed", ValueError)]


def test_cancel(ends):
    """Cancelling cancels the wait."""
    driven = drive(returns(Deferred()), ends.done, ends.failed)
    driven.cancel()
    assert ends.seen == [("failed", CancelledError)]
    driven.cancel()


def test_abandon(ends):
    """An abandoned coroutine runs on, but nobody hears of its end."""
    wait, reached = Deferred(), []

    async def work():
        await wait
        reached.append(True)

    driven = drive(work(), ends.done, ends.failed)
    driven.abandon()
    wait.callback(None)
    assert reached
    assert ends.seen == []

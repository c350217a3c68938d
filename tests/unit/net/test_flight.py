"""One piece of work per key, however many wait."""

import pytest
from twisted.internet.defer import CancelledError, Deferred

from kumotwist.net.flight import SingleFlight
from kumotwist.net.tasks import Tasks


def start(coroutine):
    return Deferred.fromCoroutine(coroutine)


class Work:
    """Work that ends when told to, and counts its runs."""

    def __init__(self):
        self.gates = []

    async def __call__(self):
        gate = Deferred()
        self.gates.append(gate)
        return await gate


@pytest.fixture
def flight():
    return SingleFlight(Tasks().spawn, "test")


def test_all_who_ask_meanwhile_get_the_one_result(flight):
    """Ten callers, one call."""
    work = Work()
    callers = [start(flight.run("key", work)) for _ in range(10)]
    work.gates[0].callback("value")
    assert [caller.result for caller in callers] == ["value"] * 10
    assert len(work.gates) == 1
    assert len(flight) == 0


def test_keys_do_not_wait_for_each_other(flight):
    """Another key is another piece of work."""
    work = Work()
    first, second = start(flight.run("a", work)), start(flight.run("b", work))
    work.gates[1].callback(2)
    assert second.result == 2
    assert not first.called


def test_a_failure_reaches_everyone_and_is_not_kept(flight):
    """The next caller tries anew."""
    work = Work()
    callers = [start(flight.run("key", work)) for _ in range(3)]
    work.gates[0].errback(RuntimeError("broken"))
    assert [caller.result.type for caller in callers] == [RuntimeError] * 3
    for caller in callers:
        caller.addErrback(lambda _: None)
    again = start(flight.run("key", work))
    work.gates[1].callback("now")
    assert again.result == "now"


def test_a_caller_that_is_cancelled_stops_nothing(flight):
    """Even when it is the one that started the work."""
    work = Work()
    first, second = start(flight.run("key", work)), start(flight.run("key", work))
    first.cancel()
    first.addErrback(lambda failure: failure.trap(CancelledError))
    work.gates[0].callback("value")
    assert second.result == "value"


def test_a_caller_may_start_anew_from_its_result(flight):
    """A callback that asks for the key again gets new work, not a dead end."""
    work = Work()
    first = start(flight.run("key", work))
    first.addCallback(lambda _: start(flight.run("key", work)))
    work.gates[0].callback("old")
    work.gates[1].callback("new")
    assert first.result == "new"


def test_after_shutdown_callers_are_told():
    """When nothing is started any more, nobody waits for ever."""
    tasks = Tasks()
    start(tasks.close())
    caller = start(SingleFlight(tasks.spawn, "test").run("key", Work()))
    assert caller.result.check(CancelledError)
    caller.addErrback(lambda _: None)

"""Background coroutines."""

import pytest
from twisted.internet.defer import CancelledError, Deferred

from kumotwist.net.tasks import Tasks


def ended(coroutine):
    """Drive a coroutine that must end at once."""
    return Deferred.fromCoroutine(coroutine).result


async def wait_for(gate, done=None):
    await gate
    if done is not None:
        done.append("done")


def test_work_runs_at_once_and_is_forgotten_when_it_ends():
    """A background job starts when it is spawned and leaves nothing behind."""
    tasks, gate, done = Tasks(), Deferred(), []
    work = tasks.spawn("waiter", wait_for(gate, done))
    assert tasks.names == ["waiter"]
    gate.callback(None)
    assert done == ["done"]
    assert len(tasks) == 0
    assert work.result is None


def test_work_that_ends_at_once_is_not_kept():
    """A job that never waits costs no bookkeeping."""

    async def nothing():
        pass

    tasks = Tasks()
    assert tasks.spawn("nothing", nothing()).called
    assert len(tasks) == 0


@pytest.mark.parametrize("waits", [True, False])
def test_a_failure_is_logged_with_the_name(failures, waits):
    """A background job that fails is told in the log, not lost."""
    gate = Deferred()

    async def fails():
        if waits:
            await gate
        raise RuntimeError("broken pipe dream")

    tasks = Tasks()
    work = tasks.spawn("dreamer", fails())
    gate.callback(None)
    assert work.result is None
    assert len(tasks) == 0
    (event,) = failures.expect("broken pipe dream")
    assert event["name"] == "dreamer"


def test_close_cancels_and_waits():
    """Shutdown ends background jobs, lets them clean up, and waits for that."""
    cleaning, seen = Deferred(), []

    async def tidy():
        try:
            await Deferred()
        except CancelledError:
            await cleaning
            seen.append("clean")
            raise

    tasks = Tasks()
    tasks.spawn("tidy", tidy())
    closing = Deferred.fromCoroutine(tasks.close())
    assert not closing.called
    cleaning.callback(None)
    assert closing.called
    assert seen == ["clean"]


def test_nothing_starts_after_close():
    """Work spawned during shutdown is dropped without a warning."""
    tasks, done = Tasks(), []
    assert ended(tasks.close()) is None
    gate = Deferred()
    assert tasks.spawn("late", wait_for(gate, done)).called
    gate.callback(None)
    assert done == []

"""Threads for blocking calls."""

import threading

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from kumotwist.core.errors import Overload
from kumotwist.net.blocking import BlockingThreads


@ensureDeferred
async def test_calls_run_on_threads_and_their_errors_come_back():
    """The reactor goes on meanwhile."""
    threads = BlockingThreads(reactor, "test", 2, 10)
    assert await threads.run(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 1, 0)
    await threads.close()


@ensureDeferred
async def test_too_many_calls_are_refused():
    """A disk or Vault that hangs does not pile up calls without end."""
    threads, gate = BlockingThreads(reactor, "test", 1, 3), threading.Event()
    waiting = [Deferred.fromCoroutine(threads.run(gate.wait)) for _ in range(3)]
    with pytest.raises(Overload, match="test threads have 3 calls waiting"):
        await threads.run(int)
    gate.set()
    assert await gatherResults(waiting) == [True] * 3
    assert await threads.run(int) == 0
    await threads.close()
    with pytest.raises(Overload, match="are closed"):
        await threads.run(int)


@ensureDeferred
async def test_a_call_whose_caller_has_given_up_counts_until_it_ends():
    """Else a client that hangs up again and again piles up calls on a disk that hangs."""
    threads, gate = BlockingThreads(reactor, "test", 1, 1), threading.Event()
    work = Deferred.fromCoroutine(threads.run(gate.wait))
    work.addErrback(lambda failure: failure.trap(CancelledError))
    work.cancel()
    with pytest.raises(Overload, match="1 calls waiting"):
        await threads.run(int)
    gate.set()
    await threads.close()


@ensureDeferred
async def test_a_caller_may_give_up():
    """The call itself runs to its end, and close waits for it."""
    threads, gate, done = BlockingThreads(reactor, "test", 1, 3), threading.Event(), []
    work = Deferred.fromCoroutine(threads.run(lambda: (gate.wait(), done.append("done"))))
    work.addErrback(lambda failure: failure.trap(CancelledError))
    work.cancel()
    gate.set()
    await threads.close()
    assert done == ["done"]

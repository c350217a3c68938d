"""The thread for blocking work."""

import threading

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from kumotwist.net.threads import SerialThread


@pytest_twisted.ensureDeferred
async def test_work_runs_in_order_and_ends_are_told_on_the_reactor_thread():
    """Nothing overtakes, and what fails is handed over."""
    thread, seen, all_done = SerialThread("test", reactor), [], Deferred()
    here = threading.get_ident()

    def work(number):
        seen.append(("work", number, threading.get_ident() == here))
        if number == 1:
            raise OSError("disk")

    def done(number):
        def told(error):
            seen.append(("done", number, threading.get_ident() == here, repr(error)))
            if number == 2:
                all_done.callback(None)

        return told

    for number in range(3):
        thread.submit(lambda number=number: work(number), done(number))
    await all_done
    assert [entry[1:3] for entry in seen if entry[0] == "work"] == [(0, False), (1, False), (2, False)]
    assert [entry[1:] for entry in seen if entry[0] == "done"] == [
        (0, True, "None"),
        (1, True, "OSError('disk')"),
        (2, True, "None"),
    ]
    await thread.close()


@pytest_twisted.ensureDeferred
async def test_close_waits_for_the_work():
    """Nothing given before close is lost, and no thread is left."""
    thread, seen = SerialThread("closing", reactor), []
    for number in range(100):
        thread.submit(lambda number=number: seen.append(number), lambda _: None)
    await thread.close()
    assert seen == list(range(100))
    assert "closing" not in [one.name for one in threading.enumerate()]
    await thread.close()

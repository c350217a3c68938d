"""The connections of a listener over several workers."""

from __future__ import annotations

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from kumotwist.intake.smtp.slots import ConnectionSlots
from kumotwist.net.drive import drive
from kumotwist.queue.throttle import LocalLimits


class SlowLimits(LocalLimits):
    """Limits that answer when `answer` is called, as those of a supervisor do."""

    def __init__(self):
        super().__init__(Clock())
        self.questions = []

    async def acquire(self, key, limit):
        question = Deferred()
        self.questions.append(question)
        await question
        return await super().acquire(key, limit)

    def answer(self):
        self.questions.pop(0).callback(None)


def take(slots):
    """Whether a slot was to be had; for limits that answer at once."""
    if slots.take_now():
        return True
    answers = []
    drive(slots.take(), answers.append, pytest.fail)
    return answers[0]


@given(
    limit=st.integers(0, 3000),
    workers=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(-400, 400)), max_size=40),
)
def test_workers_never_pass_the_limit_together(limit, workers, steps):
    """Whatever comes and goes where: at most `limit` connections, and a refusal only when nearly all are taken."""
    limits = LocalLimits(Clock())
    slots = [ConnectionSlots(limits, "listener", limit, workers) for _ in range(workers)]
    taken = [0] * workers
    for worker, change in steps:
        one = worker % workers
        for _ in range(abs(change)):
            if change > 0 and take(slots[one]):
                taken[one] += 1
            elif change > 0:
                # What others hold unused, and what a division into bundles leaves over.
                assert sum(taken) >= limit * (1 - 3 / 64) - 1
                break
            elif taken[one]:
                slots[one].give_back()
                taken[one] -= 1
        assert sum(taken) <= limit
    for one, count in zip(slots, taken, strict=True):
        for _ in range(count):
            one.give_back()
    assert limits._held.get("listener", 0) <= workers


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_small_limit_is_exact(workers):
    """max_connections = 7 is seven connections, wherever they arrive, and each that ends makes room."""
    limits = LocalLimits(Clock())
    slots = [ConnectionSlots(limits, "listener", 7, workers) for _ in range(workers)]
    for number in range(7):
        assert take(slots[number % workers])
    assert not any(take(one) for one in slots)
    slots[0].give_back()
    assert take(slots[-1])


@pytest_twisted.ensureDeferred
async def test_many_at_once_ask_once():
    """A burst of connections waits for one answer and shares the bundle."""
    limits, answers = SlowLimits(), []
    slots = ConnectionSlots(limits, "listener", 32768, 2)
    for _ in range(100):
        drive(slots.take(), answers.append, pytest.fail)
    assert len(limits.questions) == 1
    limits.answer()
    assert answers == [True] * 100
    assert limits.questions == []


@pytest_twisted.ensureDeferred
async def test_a_client_that_hangs_up_while_we_ask_stands_in_nobodys_way():
    """The next one asks for itself."""
    limits, answers, ended = SlowLimits(), [], []
    slots = ConnectionSlots(limits, "listener", 5, 1)
    first = drive(slots.take(), answers.append, ended.append)
    drive(slots.take(), answers.append, pytest.fail)
    first.cancel()
    assert [type(error) for error in ended] == [CancelledError]
    limits.questions.pop(0)
    limits.answer()
    assert answers == [True]

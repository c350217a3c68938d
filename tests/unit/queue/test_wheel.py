"""The timer wheel against a sorted list."""

import math

from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kumotwist.queue.wheel import Wheel

START = 1_800_000_000.25


@define(eq=False)
class Entry:
    due: float


DELAYS = st.one_of(
    st.floats(-100, 10),
    st.floats(0, 200),
    st.floats(0, 5000),
    st.floats(0, 400_000),
    st.sampled_from([0.0, 1.0, 63.0, 64.0, 65.0, 4095.0, 4096.0, 4097.0, 1e12, math.inf]),
)


class WheelBesideAList(RuleBasedStateMachine):
    """Nothing comes out early, everything comes out at the first look after its second, nothing is lost."""

    def __init__(self):
        super().__init__()
        self.now = START
        self.wheel = Wheel(self.now)
        self.waiting = []

    @rule(delay=DELAYS)
    def insert(self, delay):
        entry = Entry(self.now + delay)
        self.wheel.insert(entry, "value")
        self.waiting.append(entry)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data):
        entry = data.draw(st.sampled_from(self.waiting))
        assert self.wheel.cancel(entry) == "value"
        assert self.wheel.cancel(entry) is None
        self.waiting.remove(entry)

    @rule(step=st.one_of(st.floats(0, 3), st.floats(0, 300), st.floats(0, 100_000)))
    def advance(self, step):
        before, self.now = self.now, self.now + step
        due = [entry for entry, value in self.wheel.advance(self.now)]
        assert all(entry.due <= self.now for entry in due), "before it was due"
        ticked = int(self.now) > int(before)
        late = [entry for entry in self.waiting if entry.due <= int(self.now) and ticked]
        assert set(late) <= set(due)
        assert len(set(due)) == len(due)
        seconds = [math.ceil(entry.due) for entry in due if entry.due > before]
        assert seconds == sorted(seconds)
        self.waiting = [entry for entry in self.waiting if entry not in due]

    @rule(step=st.floats(0, 100_000))
    def set_the_clock_back(self, step):
        self.now -= step
        due = [entry for entry, _ in self.wheel.advance(self.now)]
        assert all(entry.due <= self.now for entry in due)
        self.waiting = [entry for entry in self.waiting if entry not in due]

    @invariant()
    def all_are_there(self):
        assert len(self.wheel) == len(self.waiting)


TestWheelBesideAList = WheelBesideAList.TestCase


@given(st.lists(st.integers(0, 10_000), max_size=50))
def test_second_by_second_each_comes_in_its_second(delays):
    """A message leaves in the second in which it is due, whatever else waits."""
    base = int(START)
    wheel = Wheel(base)
    for delay in delays:
        wheel.insert(Entry(base + delay), delay)
    seen = []
    for second in range(base + 1, base + 10_002):
        seen += [(delay, second - base) for _, delay in wheel.advance(second)]
    assert sorted(seen) == sorted((delay, max(delay, 1)) for delay in delays)


def test_what_is_due_together_keeps_its_order():
    """Messages that become due in the same second leave in the order in which they came."""
    wheel = Wheel(START)
    for number in range(100):
        wheel.insert(Entry(START + 50), number)
    assert [number for _, number in wheel.advance(START + 51)] == list(range(100))

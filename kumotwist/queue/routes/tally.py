"""All that a route has done for a class of messages: outcomes, receipts by state, and how long they took.

Two books are kept. One fades like the evidence that shares are judged by
(half of it goes in a half-life), for explanations and records: what happened of
late. The other only grows, for metrics, since the process was started.

A faded count is not multiplied down at each event, which would cost some
hundred nanoseconds a slot; what is new weighs more instead (forward decay,
Cormode et al. 2009), and whoever reads divides.

Public: `Tally`, `Timing`, `Lately`, `samples_of`. No clock of its own: `now` is in Unix seconds; one that jumps back
leaves counts as they are.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from kumotwist.core.outcome import Verdict
from kumotwist.core.receipt import ReceiptState
from kumotwist.core.stats import Histogram, Sample

#: Upper bounds in seconds. Ours: a hand-over takes from a few milliseconds (a server nearby) to a queue's patience; a
#: receipt from a second (SMS) to a day (an SMS centre that waits for a telephone to be switched on).
HANDOVER_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
RECEIPT_BOUNDS: Final = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0)

#: The slots of a book. Their numbers stand in the state file: add to the end of a group's room, never move one.
_OUTCOMES: Final[Mapping[Verdict, int]] = {Verdict.DELIVERED: 0, Verdict.TRANSIENT: 1, Verdict.PERMANENT: 2}
_OUTCOME_NAMES: Final = ("handed_over", "transient", "permanent")
_RECEIPTS: Final[Mapping[ReceiptState, int]] = {
    ReceiptState.ACCEPTED: 4,
    ReceiptState.DEFERRED: 5,
    ReceiptState.DELIVERED: 6,
    ReceiptState.FAILED: 7,
    ReceiptState.EXPIRED: 8,
    ReceiptState.OPENED: 9,
    ReceiptState.CLICKED: 10,
    ReceiptState.COMPLAINED: 11,
    ReceiptState.UNSUBSCRIBED: 12,
    ReceiptState.UNKNOWN: 13,
}
#: The sum of seconds, then a slot for each bound and one for what is above all.
_HANDOVER: Final = 16
_RECEIPT: Final = 32
_SLOTS: Final = 48
_EMPTY: Final = bytes(8 * _SLOTS)
#: Half-lives after which weights are made small again: 2**64 is far from where floats end.
_MANY: Final = 64.0
#: What additions of floats are out by.
_NOTHING: Final = 1e-9


@frozen
class Timing:
    """How long something took of late: how often it happened, in all so many seconds, by upper bound."""

    bounds: tuple[float, ...]
    seconds: float
    counts: Sequence[float]

    @property
    def count(self) -> float:
        """How many there are, faded ones in part."""
        return sum(self.counts)

    def quantile(self, part: float) -> float | None:
        """Seconds that `part` of them took at most, to within a bound; None for less than one."""
        count = self.count
        if count < 1.0:
            return None
        left, lower = part * count, 0.0
        for bound, here in zip(self.bounds, self.counts, strict=False):
            if left <= here + _NOTHING * count:
                return lower + (bound - lower) * (min(left / here, 1.0) if here > 0.0 else 0.0)
            left, lower = left - here, bound
        return lower


@frozen
class Lately:
    """What a route has done of late; counts have parts of what has faded. Receipts by state, without those not seen."""

    handed_over: float
    transient: float
    permanent: float
    receipts: Mapping[str, float]
    to_handover: Timing
    to_receipt: Timing


class Tally:
    """Both books of one route and class."""

    __slots__ = ("_at", "_faded", "_since", "half_life", "totals")

    def __init__(self, half_life: float) -> None:
        self.half_life = half_life
        self.totals = array("d", _EMPTY)
        #: Weighed: divided by the weight of `_at` it is faded to `_at`. What happens at `_since` weighs 1.
        self._faded = array("d", _EMPTY)
        self._at = self._since = 0.0

    def outcome(self, verdict: Verdict, seconds: float, now: float) -> None:
        """An attempt has ended, so many seconds after it was given to the route."""
        weight = self._weight(now)
        self._add(_OUTCOMES[verdict], 1.0, weight)
        if verdict is Verdict.DELIVERED:
            self._time(_HANDOVER, HANDOVER_BOUNDS, seconds, weight)

    def receipt(self, state: ReceiptState, seconds: float | None, now: float) -> None:
        """A receipt has come; `seconds` after the hand-over, None when that is not known."""
        weight = self._weight(now)
        self._add(_RECEIPTS[state], 1.0, weight)
        if seconds is not None and state.is_final:
            self._time(_RECEIPT, RECEIPT_BOUNDS, seconds, weight)

    def lately(self, now: float, others: Iterable[Tally] = ()) -> Lately:
        """What this and `others`, of other workers, have seen of late."""
        slots = self.faded(now)
        for other in others:
            slots = [one + more for one, more in zip(slots, other.faded(now), strict=True)]
        return Lately(
            slots[_OUTCOMES[Verdict.DELIVERED]],
            slots[_OUTCOMES[Verdict.TRANSIENT]],
            slots[_OUTCOMES[Verdict.PERMANENT]],
            {state.value: slots[slot] for state, slot in _RECEIPTS.items() if slots[slot] > 0.0},
            _timing(slots, _HANDOVER, HANDOVER_BOUNDS),
            _timing(slots, _RECEIPT, RECEIPT_BOUNDS),
        )

    def faded(self, now: float) -> list[float]:
        """The faded book as of `now`, by slot."""
        factor = 2.0 ** (-(max(now, self._at) - self._since) / self.half_life)
        return [value * factor for value in self._faded]

    def copy(self, other: Tally) -> None:
        """Know what `other` knows."""
        self._at = self._since = other._at
        self._faded = array("d", other.faded(other._at))
        self.totals = array("d", other.totals)

    def as_numbers(self) -> tuple[float, dict[int, float]]:
        """For the state file: the time, and the slots that are not empty as of then."""
        return self._at, {slot: value for slot, value in enumerate(self.faded(self._at)) if value > 0.0}

    @classmethod
    def of_numbers(cls, half_life: float, at: float, slots: Mapping[int, float]) -> Tally:
        """From what `as_numbers` gave; slots that this version does not know are left out."""
        found = cls(half_life)
        found._at = found._since = at
        for slot, value in slots.items():
            if 0 <= slot < _SLOTS:
                found._faded[slot] = value
        return found

    def _weight(self, now: float) -> float:
        """What something counts that happens now."""
        if now < self._at:
            self._since += now - self._at
        elif now - self._since > _MANY * self.half_life:
            self._faded = array("d", self.faded(now))
            self._since = now
        self._at = now
        return 2.0 ** ((now - self._since) / self.half_life)  # type: ignore[no-any-return] # of two floats

    def _add(self, slot: int, count: float, weight: float) -> None:
        self.totals[slot] += count
        self._faded[slot] += count * weight

    def _time(self, first: int, bounds: Sequence[float], seconds: float, weight: float) -> None:
        self._add(first, seconds, weight)
        self._add(first + 1 + bisect_left(bounds, seconds), 1.0, weight)


def samples_of(tally: Tally, labels: tuple[tuple[str, str], ...]) -> Iterator[Sample]:
    """The book that only grows, as metrics; what has not happened is left out."""
    totals = tally.totals
    for slot, name in enumerate(_OUTCOME_NAMES):
        if totals[slot]:
            yield Sample("total_route_outcomes", totals[slot], (*labels, ("outcome", name)))
    for state, slot in _RECEIPTS.items():
        if totals[slot]:
            yield Sample("total_route_receipts", totals[slot], (*labels, ("state", state.value)))
    for name, first, bounds in (
        ("route_handover_seconds", _HANDOVER, HANDOVER_BOUNDS),
        ("route_receipt_seconds", _RECEIPT, RECEIPT_BOUNDS),
    ):
        timing = _timing(totals, first, bounds)
        if timing.count:
            histogram = Histogram(bounds)
            histogram.counts, histogram.sum = [int(count) for count in timing.counts], timing.seconds
            yield Sample(name, histogram, labels)


def _timing(slots: Sequence[float], first: int, bounds: tuple[float, ...]) -> Timing:
    return Timing(bounds, slots[first], slots[first + 1 : first + 2 + len(bounds)])

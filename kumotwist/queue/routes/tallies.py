"""The tallies of a route table: one for each class and route that has anything to count, and those of other workers.

Public: `Tallies`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from attrs import define, field

from kumotwist.core.outcome import Verdict
from kumotwist.core.receipt import ReceiptState
from kumotwist.queue.routes.balance import MAX_CLASSES
from kumotwist.queue.routes.tally import Lately, Tally

#: Classes whose tallies on other workers are kept. Ours: people look at them; each is a few hundred octets for each
#: worker and route.
_MAX_OTHERS: Final = 1_000
#: The class that stands for all of them.
ALL: Final = ""


@define(eq=False)
class Tallies:
    """Routes go by their position. What is counted for a class is counted for all classes together, too."""

    half_life: float
    _classes: OrderedDict[str, dict[int, Tally]] = field(factory=OrderedDict, init=False)
    #: What other workers have, by class and worker.
    _others: OrderedDict[str, dict[int, Mapping[int, Tally]]] = field(factory=OrderedDict, init=False)
    _news: set[str] = field(factory=set, init=False)

    def outcome(self, name: str, position: int, verdict: Verdict, seconds: float, now: float) -> None:
        """An attempt has ended, so many seconds after its route was chosen."""
        for one in {ALL, name}:
            self._tally(one, position).outcome(verdict, seconds, now)

    def receipt(self, name: str, position: int, state: ReceiptState, seconds: float | None, now: float) -> None:
        """A receipt has come, so many seconds after the hand-over, if that is known."""
        for one in {ALL, name}:
            self._tally(one, position).receipt(state, seconds, now)

    def lately(self, name: str, position: int, now: float) -> Lately:
        """What the route has done for class `name` of late, on all workers."""
        own = self.counted(name, position) or Tally(self.half_life)
        others = [one[position] for one in self._others.get(name, {}).values() if position in one]
        return own.lately(now, others)

    def counted(self, name: str, position: int) -> Tally | None:
        """What this worker has counted; None for nothing."""
        return self._classes.get(name, {}).get(position)

    def news(self, name: str) -> bool:
        """Whether something was counted for the class since this was asked last."""
        is_news = name in self._news
        self._news.discard(name)
        return is_news

    def known(self, name: str) -> Mapping[int, Tally]:
        """What this worker knows about a class."""
        return self._classes.get(name, {})

    def hear(self, worker: int, name: str, tallies: Mapping[int, Tally]) -> None:
        """What another worker has counted."""
        if not tallies:
            return
        self._others.setdefault(name, {})[worker] = tallies
        self._others.move_to_end(name)
        _bound(self._others, ALL, _MAX_OTHERS)

    def recall(self, name: str, tallies: Mapping[int, Tally]) -> None:
        """What this worker had counted before: under another table or, without totals, another process."""
        for position, tally in tallies.items():
            made = self._of_class(name)[position] = Tally(self.half_life)
            made.copy(tally)

    def remember(self, other: Tallies, places: Mapping[int, int]) -> None:
        """Take over what `other` has, whose positions become others by `places`."""
        for name, tallies in other._classes.items():
            self._classes[name] = _moved(tallies, places)
            for tally in tallies.values():
                tally.half_life = self.half_life
        self._news |= other._news
        for name, by_worker in other._others.items():
            self._others[name] = {worker: _moved(tallies, places) for worker, tallies in by_worker.items()}

    def _tally(self, name: str, position: int) -> Tally:
        self._news.add(name)
        tallies = self._of_class(name)
        tally = tallies.get(position)
        if tally is None:
            tally = tallies[position] = Tally(self.half_life)
        return tally

    def _of_class(self, name: str) -> dict[int, Tally]:
        tallies = self._classes.get(name)
        if tallies is None:
            tallies = self._classes[name] = {}
            gone = _bound(self._classes, ALL)
            if gone is not None:
                self._news.discard(gone)
        elif name != ALL:
            self._classes.move_to_end(name)
        return tallies


def _moved(tallies: Mapping[int, Tally], places: Mapping[int, int]) -> dict[int, Tally]:
    return {places[at]: tally for at, tally in tallies.items() if at in places}


def _bound(
    classes: OrderedDict[str, dict[int, Tally]] | OrderedDict[str, dict[int, Mapping[int, Tally]]],
    keep: str,
    most: int = MAX_CLASSES,
) -> str | None:
    """Forget the class that was used longest ago when there are too many, but not `keep`; which one it was."""
    if len(classes) <= most:
        return None
    oldest = next(one for one in classes if one != keep)
    del classes[oldest]
    return oldest

"""How each route treats each class of messages at a moment of a simulation.

Public: `Weather`, `Behaviour`. Where several troubles meet, the worst of each holds.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen

from kumotwist.trial.scenario import Scenario, Trouble


@frozen
class Behaviour:
    """What becomes of messages; the defaults are those of a route that is well."""

    success: float = 0.98
    arrival: float = 0.97
    receipts: float = 1.0
    #: Mean seconds to a receipt.
    delay: float = 5.0
    is_trouble: bool = False

    def and_(self, trouble: Trouble) -> Behaviour:
        """What it is with this trouble, too."""
        return Behaviour(
            _worse(trouble.success, self.success),
            _worse(trouble.arrival, self.arrival),
            _worse(trouble.receipts, self.receipts),
            max(trouble.delay or 0.0, self.delay),
            is_trouble=True,
        )


_WELL: Final = Behaviour()


@define(eq=False)
class Weather:
    """Asked for moments that never go back."""

    scenario: Scenario
    _now: dict[tuple[int, str], Behaviour] = field(factory=dict)
    _turns: list[float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        turns = {turn for one in self.scenario.trouble for turn in (one.from_, one.until)}
        self._turns = sorted(turns, reverse=True)

    def at(self, seconds: float) -> None:
        """Move to that moment."""
        while self._turns and self._turns[-1] <= seconds:
            moment = self._turns.pop()
            self._now.clear()
            for one in self.scenario.trouble:
                if one.from_ <= moment < one.until:
                    self._meet(one)

    def of(self, position: int, class_: str) -> Behaviour:
        """How the route at `position` treats messages of this class."""
        return self._now.get((position, class_), _WELL)

    def _meet(self, trouble: Trouble) -> None:
        for position, route in enumerate(self.scenario.table.routes):
            if trouble.route in (None, route.name):
                for class_ in self.scenario.classes if trouble.class_ is None else (trouble.class_,):
                    self._now[position, class_] = self.of(position, class_).and_(trouble)


def _worse(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)

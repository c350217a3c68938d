"""The standings of a table: how its routes stand with each class of messages, and with all together.

The class of all is always there; of the others those used last are remembered,
and one that had no message yet is like all.

Public: `Standings`. Nothing can go wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, ItemsView, Mapping
from typing import Final

from attrs import define, field

from kumotwist.queue.routes.balance import MAX_CLASSES
from kumotwist.queue.routes.standing import Standing
from kumotwist.queue.routes.tallies import ALL

#: Classes that metrics and explanations show. Ours: a dashboard of more is a list.
_MAX_SHOWN: Final = 100


@define(eq=False)
class Standings:
    """By class. `forgotten` hears of a class that made way for another one."""

    routes: int
    half_life: float
    forgotten: Callable[[str], object]
    _by_class: OrderedDict[str, Standing] = field(factory=OrderedDict, init=False)

    def of(self, name: str) -> Standing:
        """That of a class, which is noted as used."""
        known = self._by_class.get(name)
        if known is None:
            known = self._by_class[name] = Standing.fresh(self.routes, self.half_life)
            if len(self._by_class) > MAX_CLASSES:
                oldest = next(one for one in self._by_class if one != ALL)
                del self._by_class[oldest]
                self.forgotten(oldest)
        elif name != ALL:
            self._by_class.move_to_end(name)
        return known

    def seen(self, name: str) -> Standing:
        """That of a class, which is not noted for being asked; that of all where it had no message yet."""
        return self._by_class.get(name) or self.of(ALL)

    def known(self) -> ItemsView[str, Standing]:
        """All that there are, by class."""
        return self._by_class.items()

    def shown(self) -> list[str]:
        """The classes to show: that of all, and those used last."""
        return [ALL, *[name for name in reversed(self._by_class) if name != ALL][: _MAX_SHOWN - 1]]

    def remember(self, other: Standings, positions: Mapping[int, int]) -> None:
        """Take over those of a former table; `positions` has a former position by the present one."""
        for name, former in other.known():
            self._by_class[name] = Standing.following(former, self.routes, positions, self.half_life)

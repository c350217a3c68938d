"""Whose turn it is: shares turned into choices that keep to them, in the long run and in the short.

Every choice leaves each route a little ahead of its share or behind it. These
debts are kept twice: for the class of the message (gmail.com, say) and for the
table as a whole. The next message goes to the route that is owed most, both
debts together. So a hundred messages at 20, 10 and 70 percent are 20, 10 and
70, be they of one class or of a hundred, and a class that avoids a route is not
sent there because another class is behind.

What goes to a route by no choice, pinned or by its key, runs up debts as well,
but no more than can be made up for soon: whoever pins thousands to one route
does not take it from all others for hours.

Public: `Balance`, and `by_key` for messages that are to stay together. Shares are floats that add up to 1; the debts
stay within a few messages.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from math import log
from typing import Final

from attrs import define, field

#: Classes whose debts are remembered; one that was forgotten starts even. Ours.
MAX_CLASSES: Final = 10_000
#: How far ahead of its share a route may be for what went there by no choice, in messages; more is forgotten. Ours: a
#: route of one in ten is then left out of fifty messages, or a hundred when class and table are both that far.
MAX_AHEAD: Final = 5.0


@define(eq=False)
class Balance:
    """The debts of one table's `count` routes, by position."""

    count: int
    _table: list[float] = field(init=False)
    _classes: OrderedDict[str, list[float]] = field(factory=OrderedDict, init=False)

    def __attrs_post_init__(self) -> None:
        self._table = [0.0] * self.count

    def choose(self, name: str, shares: Sequence[float]) -> int:
        """The route for the next message of class `name`: one whose share is above 0.

        Raises ValueError when no share is.
        """
        debts, table = self._debts(name), self._table
        best, most = -1, 0.0
        for position, share in enumerate(shares):
            if share <= 0.0:
                continue
            debts[position] += share
            table[position] += share
            owed = debts[position] + table[position]
            if best < 0 or owed > most:
                best, most = position, owed
        if best < 0:
            raise ValueError("no route has a share")
        debts[best] -= 1.0
        table[best] -= 1.0
        return best

    def owed(self, name: str, shares: Sequence[float]) -> list[float]:
        """What the next message of class `name` would find each route owed; nothing changes."""
        debts = self._classes.get(name) or [0.0] * self.count
        return [debt + all_ + 2 * share for debt, all_, share in zip(debts, self._table, shares, strict=True)]

    def note(self, name: str, position: int, shares: Sequence[float]) -> None:
        """A message went to `position` for reasons of its own; the others make up for it, within bounds."""
        debts = self._debts(name)
        for one in (debts, self._table):
            if one[position] + shares[position] - 1.0 < -MAX_AHEAD:
                continue
            for other, share in enumerate(shares):
                one[other] += share
            one[position] -= 1.0

    def _debts(self, name: str) -> list[float]:
        debts = self._classes.get(name)
        if debts is None:
            debts = self._classes[name] = [0.0] * self.count
            if len(self._classes) > MAX_CLASSES:
                self._classes.popitem(last=False)
        else:
            self._classes.move_to_end(name)
        return debts


def by_key(key: str, names: Sequence[str], shares: Sequence[float]) -> int:
    """Weighted rendezvous hashing: when shares move, only as many keys move as must."""
    best, most = 0, -1.0
    for position, (name, share) in enumerate(zip(names, shares, strict=True)):
        if share > 0.0:
            number = int.from_bytes(blake2b(f"{name}\0{key}".encode(), digest_size=8).digest(), "big")
            score = -share / log((number + 1) / (2**64 + 1))
            if score > most:
                best, most = position, score
    return best

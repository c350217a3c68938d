"""Destinations that do not answer, by route: each is a failure of the route once, not at each of its messages.

A route that goes to the recipients' own mail exchangers fails where one of
these is dead. That is no fault of the route, and must not move the messages of
all others. Nor can it be told at once from the route being dead: so the first
failure of a destination counts, and further ones do not until it has answered.
A network that is down fails for one destination after the other.

Public: `DeadSites`. Nothing can go wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from attrs import define, field

#: Destinations remembered, of all routes of a table; the first to fail is forgotten, and counts once more. Ours.
_MAX_SITES: Final = 10_000


@define(eq=False)
class DeadSites:
    """Those of one table; routes go by position."""

    _dead: OrderedDict[tuple[int, str], None] = field(factory=OrderedDict, init=False)

    def is_known(self, position: int, site: str, is_alive: bool) -> bool:
        """Note whether `site` answers by a route; whether it failed before, and does again."""
        key = (position, site)
        if is_alive:
            self._dead.pop(key, None)
            return False
        if key in self._dead:
            return True
        self._dead[key] = None
        if len(self._dead) > _MAX_SITES:
            self._dead.popitem(last=False)
        return False

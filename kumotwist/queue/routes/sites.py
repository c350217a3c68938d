"""Destinations that fail by themselves: each is one failure of a route, not one with each message.

A route that goes to the recipients' own mail exchangers fails where one of
these is dead, or refuses our mail. That is no fault of the route, and must not
move the messages of all others. Nor can it be told at once from the route being
at fault: so the first failure of a destination counts among all messages, and
further ones do not until it has been well. What comes back after it was handed over
was well received, so of what a destination returns one counts in each half-life,
unless others return theirs, too.
A network that is down fails for one
destination after the other. In the class of a message further ones do count
unless others of that class are well: it may be a class of one destination.

Public: `FailingSites`. Nothing can go wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from attrs import define, field, frozen

#: Destinations remembered, of all classes and routes of a table, and classes and routes of which it is known who was
#: well last; the first to come is forgotten, and its next failure counts. Ours: some megabytes.
_MAX_KNOWN: Final = 20_000
#: Seconds for which another destination's being well tells that the route is. Ours: a network that is down is
#: seen after them at the latest.
_WELL_FOR: Final = 60.0


@frozen
class _Well:
    """The destination that was well last, and the last one before it that is another."""

    site: str
    at: float
    other: str = ""
    other_at: float = 0.0

    def after(self, site: str, now: float) -> _Well:
        """With `site` being well."""
        if site == self.site:
            return _Well(site, now, self.other, self.other_at)
        return _Well(site, now, self.site, self.at)

    def is_elsewhere(self, site: str, now: float) -> bool:
        """Whether one that is not `site` was well lately."""
        at, known = (self.at, self.site) if self.site != site else (self.other_at, self.other)
        return known != "" and abs(now - at) < _WELL_FOR


@define(eq=False)
class FailingSites:
    """Those of one table; routes go by position."""

    _failing: OrderedDict[tuple[str, int, str], None] = field(factory=OrderedDict, init=False)
    _well: OrderedDict[tuple[str, int], _Well] = field(factory=OrderedDict, init=False)
    #: When what they returned counted last.
    _returned: OrderedDict[tuple[str, int, str], float] = field(factory=OrderedDict, init=False)

    def note_well(self, name: str, position: int, site: str, now: float) -> None:
        """A message of class `name` was well received by `site`."""
        self._failing.pop((name, position, site), None)
        way = (name, position)
        before = self._well.get(way)
        self._well[way] = before.after(site, now) if before is not None else _Well(site, now)
        self._well.move_to_end(way)
        if len(self._well) > _MAX_KNOWN:
            self._well.popitem(last=False)

    def is_its_own(self, name: str, position: int, site: str, now: float, is_among_all: bool) -> bool:
        """Note that a message failed by `site`; whether that says nothing about the route for class `name`.

        `is_among_all`: that is the class of all, and the message has one of its own.
        """
        key = (name, position, site)
        if key in self._failing:
            return is_among_all or self._are_others_well(name, position, site, now)
        self._failing[key] = None
        if len(self._failing) > _MAX_KNOWN:
            self._failing.popitem(last=False)
        return False

    def is_its_own_return(
        self, name: str, position: int, site: str, now: float, is_among_all: bool, pause: float
    ) -> bool:
        """The same of a message that came back; after `pause` seconds the next one counts again.

        When others return what they took, too, it is no destination's own.
        """
        is_again = self._has_returned(name, position, site, now, pause)
        others = self._others_that_return(name, position, site, now, pause)
        if is_again and (is_among_all if others is None else not others):
            return True
        key = (name, position, site)
        self._returned[key] = now
        self._returned.move_to_end(key)
        if len(self._returned) > _MAX_KNOWN:
            self._returned.popitem(last=False)
        return False

    def _has_returned(self, name: str, position: int, site: str, now: float, pause: float) -> bool:
        counted = self._returned.get((name, position, site))
        return counted is not None and abs(now - counted) < pause

    def _others_that_return(self, name: str, position: int, site: str, now: float, pause: float) -> bool | None:
        """Whether the last others that took a message have returned one, all of them; None when none is known."""
        well = self._well.get((name, position))
        others = [one for one in (well.site, well.other) if one not in ("", site)] if well is not None else []
        return all(self._has_returned(name, position, one, now, pause) for one in others) if others else None

    def _are_others_well(self, name: str, position: int, site: str, now: float) -> bool:
        well = self._well.get((name, position))
        return well is not None and well.is_elsewhere(site, now)

    def remember(self, former: FailingSites, positions: Mapping[int, int]) -> None:
        """Take over what a former table knew; `positions` has its position of a route by the present one."""
        present = {before: position for position, before in positions.items()}
        for name, before, site in former._failing:
            if before in present:
                self._failing[name, present[before], site] = None
        for (name, before), well in former._well.items():
            if before in present:
                self._well[name, present[before]] = well
        for (name, before, site), counted in former._returned.items():
            if before in present:
                self._returned[name, present[before], site] = counted

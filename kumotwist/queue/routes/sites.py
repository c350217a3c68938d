"""Destinations that do not answer, by class and route: each is one failure of the route, not one with each message.

A route that goes to the recipients' own mail exchangers fails where one of
these is dead. That is no fault of the route, and must not move the messages of
all others. Nor can it be told at once from the route being dead: so the first
failure of a destination counts among all messages, and further ones do not until
it has answered. A network that is down fails for one destination after the other.
In the class of a message further ones do count unless others of that class
answer: it may be a class of one destination.

Public: `DeadSites`. Nothing can go wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from attrs import define, field, frozen

#: Destinations remembered, of all classes and routes of a table, and classes and routes whose last answers are; the
#: first to come is forgotten, and its next failure counts. Ours: some megabytes.
_MAX_KNOWN: Final = 20_000
#: Seconds for which an answer by another destination tells that the route is well. Ours: a network that is down is
#: seen after them at the latest.
_WELL_FOR: Final = 60.0


@frozen
class _Answers:
    """The destination that answered last, and the last one before it that is another."""

    site: str
    at: float
    other: str = ""
    other_at: float = 0.0

    def after(self, site: str, now: float) -> _Answers:
        """With the answer of `site`."""
        if site == self.site:
            return _Answers(site, now, self.other, self.other_at)
        return _Answers(site, now, self.site, self.at)

    def is_elsewhere(self, site: str, now: float) -> bool:
        """Whether one that is not `site` has answered lately."""
        at, known = (self.at, self.site) if self.site != site else (self.other_at, self.other)
        return known != "" and abs(now - at) < _WELL_FOR


@define(eq=False)
class DeadSites:
    """Those of one table; routes go by position."""

    _dead: OrderedDict[tuple[str, int, str], None] = field(factory=OrderedDict, init=False)
    _answers: OrderedDict[tuple[str, int], _Answers] = field(factory=OrderedDict, init=False)

    def answered(self, name: str, position: int, site: str, now: float) -> None:
        """A message of class `name` had an answer by `site`."""
        self._dead.pop((name, position, site), None)
        way = (name, position)
        before = self._answers.get(way)
        self._answers[way] = before.after(site, now) if before is not None else _Answers(site, now)
        self._answers.move_to_end(way)
        if len(self._answers) > _MAX_KNOWN:
            self._answers.popitem(last=False)

    def is_its_own(self, name: str, position: int, site: str, now: float, is_among_all: bool) -> bool:
        """Note that a message had no answer by `site`; whether that says nothing about the route for class `name`.

        `is_among_all`: that is the class of all, and the message has one of its own.
        """
        key = (name, position, site)
        if key in self._dead:
            if is_among_all:
                return True
            answers = self._answers.get((name, position))
            return answers is not None and answers.is_elsewhere(site, now)
        self._dead[key] = None
        if len(self._dead) > _MAX_KNOWN:
            self._dead.popitem(last=False)
        return False

    def remember(self, former: DeadSites, positions: Mapping[int, int]) -> None:
        """Take over what a former table knew; `positions` has its position of a route by the present one."""
        present = {before: position for position, before in positions.items()}
        for name, before, site in former._dead:
            if before in present:
                self._dead[name, present[before], site] = None
        for (name, before), answers in former._answers.items():
            if before in present:
                self._answers[name, present[before]] = answers

"""Past against future: how many messages would go elsewhere, from where to where.

Messages that one table, pool or plain choice sent, and that would now be sent
by one other, are compared as a crowd: what a place took beyond its new share
would go to the places that took less than theirs.

Public: `Comparison`, `Report`, `Move`, `Noted`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec
from attrs import define, field

from kumotwist.core.json import JsonObject
from kumotwist.trial.judge import Verdict
from kumotwist.trial.pastlog import Ending, Place

#: Ids that are shown for each line.
EXAMPLES: Final = 3
#: Lines of each kind. Ours: names may come from messages; nobody reads more, and memory is bounded.
MAX_LINES: Final = 10_000
#: Messages by which a table may miss a share without having another one: see docs/routing.md.
_SLACK: Final = 2.0
#: Messages that are none: what sums of shares are wrong by.
_NOTHING: Final = 1e-6

Ways: TypeAlias = tuple[tuple[Place, float], ...]


class Move(msgspec.Struct, rename={"from_": "from"}):
    """Messages that would go elsewhere."""

    from_: str
    to: str
    messages: float
    examples: list[str]


class Noted(msgspec.Struct):
    """Messages of which there is something to say."""

    what: str
    messages: int
    examples: list[str]


class Report(msgspec.Struct):
    """All that came out.

    `messages` have ended in the log; `judged` of them have a place in the past
    and a new one. Messages in `alike` keep channel and source and are not
    `elsewhere`: only whether a table, or which, chose it is new.
    """

    messages: int
    judged: int
    elsewhere: float
    moves: list[Move]
    alike: list[Move]
    queues: list[Move]
    rejected: list[Noted]
    failed: list[Noted]
    not_judged: list[Noted]
    read: JsonObject
    notes: list[str]


@define(eq=False)
class Tally:
    """Messages by key, with examples; what has no room is counted under `rest`."""

    rest: tuple[str, ...] = ("others",)
    counts: Counter[tuple[str, ...]] = field(factory=Counter, init=False)
    _examples: dict[tuple[str, ...], list[str]] = field(factory=dict, init=False)

    def add(self, key: tuple[str, ...], id_: str) -> None:
        """One more."""
        if key not in self.counts and len(self.counts) >= MAX_LINES:
            key = self.rest
        self.counts[key] += 1
        examples = self._examples.setdefault(key, [])
        if len(examples) < EXAMPLES:
            examples.append(id_)

    def noted(self) -> list[Noted]:
        """Most frequent first."""
        return [Noted(" ".join(key), count, self._examples[key]) for key, count in self.counts.most_common()]

    def moves(self) -> list[Move]:
        """The same for keys of two parts."""
        return [Move(key[0], key[-1], count, self._examples[key]) for key, count in self.counts.most_common()]


@define(eq=False)
class _Crowd:
    """Messages of one origin that would have the same ways, by where they went."""

    ways: Ways
    seen: Counter[Place] = field(factory=Counter)
    examples: dict[Place, list[str]] = field(factory=dict)

    def add(self, place: Place, id_: str) -> None:
        self.seen[place] += 1
        examples = self.examples.setdefault(place, [])
        if len(examples) < EXAMPLES:
            examples.append(id_)

    def moves(self) -> Iterator[tuple[Place, Place, float]]:
        """From, to, and how many; those whose channel and source stay the same come first."""
        surplus, lacking = self._differences()
        for place, to in [(place, to) for place in surplus for to in lacking if place.is_like(to)]:
            count = min(surplus[place], lacking[to])
            if count > _NOTHING:
                surplus[place] -= count
                lacking[to] -= count
                yield place, to, count
        total = sum(lacking.values())
        for place, count in surplus.items():
            for to, lack in lacking.items():
                if count > _NOTHING and lack > _NOTHING:
                    yield place, to, count * lack / total

    def _differences(self) -> tuple[dict[Place, float], dict[Place, float]]:
        """What places took beyond their new share, and what others are short of it."""
        total = sum(self.seen.values())
        expected: defaultdict[Place, float] = defaultdict(float)
        for place, share in self.ways:
            expected[place] += share * total
        surplus = {place: count - expected.get(place, 0.0) for place, count in self.seen.items()}
        lacking = {place: count - self.seen[place] for place, count in expected.items()}
        return (
            {place: count for place, count in surplus.items() if count > (_SLACK if place in expected else _NOTHING)},
            {place: count for place, count in lacking.items() if count > _NOTHING},
        )


@define(eq=False)
class Comparison:
    """Takes one message after the other; memory is bounded by the number of places, not of messages."""

    messages: int = 0
    judged: int = 0
    queues: Tally = field(factory=Tally)
    rejected: Tally = field(factory=Tally)
    failed: Tally = field(factory=Tally)
    not_judged: Tally = field(factory=Tally)
    _crowds: dict[tuple[tuple[str, ...], Ways], _Crowd] = field(factory=dict)

    def add(self, ending: Ending, verdict: Verdict) -> None:
        """A message that ended, and where it would go."""
        place = ending.place
        if verdict.rejected:
            self.rejected.add((verdict.rejected,), ending.id)
        elif verdict.problem:
            self.failed.add((verdict.problem,), ending.id)
        elif place is None:
            self.not_judged.add((f"{ending.type} before it was on its way",), ending.id)
        else:
            self._compare(ending, place, verdict)

    def _compare(self, ending: Ending, place: Place, verdict: Verdict) -> None:
        key = (ending.origin, verdict.ways)
        crowd = self._crowds.get(key)
        if crowd is None:
            if len(self._crowds) >= MAX_LINES:
                self.not_judged.add((f"more than {MAX_LINES:,} different choices",), ending.id)
                return
            crowd = self._crowds[key] = _Crowd(verdict.ways)
        self.judged += 1
        crowd.add(place, ending.id)
        if verdict.queue != ending.queue:
            self.queues.add((ending.queue, verdict.queue), ending.id)

    def report(self, read: JsonObject, notes: list[str]) -> Report:
        """What came out."""
        found: tuple[dict[tuple[Place, Place], Move], ...] = ({}, {})
        for crowd in self._crowds.values():
            for place, to, count in crowd.moves():
                move = found[place.is_like(to)].setdefault((place, to), Move(str(place), str(to), 0.0, []))
                move.messages += count
                move.examples = [*move.examples, *crowd.examples[place]][:EXAMPLES]
        moves, alike = (sorted(one.values(), key=lambda move: -move.messages) for one in found)
        elsewhere = round(sum(move.messages for move in moves), 1)
        for move in (*moves, *alike):
            move.messages = round(move.messages, 1)
        return Report(
            self.messages,
            self.judged,
            elsewhere,
            moves,
            alike,
            self.queues.moves(),
            self.rejected.noted(),
            self.failed.noted(),
            self.not_judged.noted(),
            read,
            notes,
        )

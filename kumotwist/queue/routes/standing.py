"""How the routes of a table stand with one class of messages, and what workers tell each other about it.

Public: `Standing`, `Known`. Every list is by route, in the table's order. Nothing can go wrong.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field, frozen

from kumotwist.queue.routes.breaker import Breaker
from kumotwist.queue.routes.evidence import Evidence
from kumotwist.queue.routes.judgement import Judged
from kumotwist.queue.routes.tally import Tally


@frozen(eq=False)
class Known:
    """What one worker knows about one class, by route; `open_until` is 0 for a breaker that is closed.

    `moved` is when the breaker opened or closed last.
    """

    handed: tuple[Evidence, ...]
    arrived: tuple[Evidence, ...]
    open_until: tuple[float, ...]
    moved: tuple[float, ...]
    #: By position, of those that have any.
    tallies: Mapping[int, Tally] = field(factory=dict)


@define(eq=False)
class Standing:
    """What is known about one class, by route."""

    handed: list[Evidence]
    arrived: list[Evidence]
    breakers: list[Breaker]
    judged: Judged | None = None
    judge_at: float = 0.0
    #: What other workers know, by worker.
    others: dict[int, Known] = field(factory=dict)
    is_news: bool = False
    reports: int = 0

    @classmethod
    def fresh(cls, routes: int, half_life: float) -> Standing:
        """That of a class of which nothing is known, on so many routes."""
        return cls(
            [Evidence(half_life) for _ in range(routes)],
            [Evidence(half_life) for _ in range(routes)],
            [Breaker() for _ in range(routes)],
        )

    def seen(self, now: float) -> tuple[list[Evidence], list[Evidence]]:
        """Hand-overs and arrivals by route, as all workers together have seen them."""
        if not self.others:
            return self.handed, self.arrived
        known = self.others.values()
        return (
            [own.together([one.handed[at] for one in known], now) for at, own in enumerate(self.handed)],
            [own.together([one.arrived[at] for one in known], now) for at, own in enumerate(self.arrived)],
        )

    def known(self, tallies: Mapping[int, Tally]) -> Known:
        """The same for other workers and the next start, with the `tallies` of this class; it is no news any more."""
        self.is_news = False
        until = tuple([one.open_until for one in self.breakers])
        moved = tuple([one.moved for one in self.breakers])
        return Known(tuple(self.handed), tuple(self.arrived), until, moved, tallies)

    def recall(self, known: Known, now: float) -> None:
        """Take over what this worker knew before it was started anew."""
        for position, breaker in enumerate(self.breakers):
            self.handed[position].copy(known.handed[position])
            self.arrived[position].copy(known.arrived[position])
            breaker.follow(known.open_until[position], known.moved[position], now)

    def remember(self, former: Standing, positions: Mapping[int, int]) -> None:
        """Take over what was known on a former table; `positions` has a former position by the present one."""
        for position, before in positions.items():
            self.breakers[position] = former.breakers[before]
            self.handed[position].copy(former.handed[before])
            self.arrived[position].copy(former.arrived[before])

"""What the demonstration shows while it runs: tables on a terminal, a line now and then elsewhere.

Public: `Screen`, with `show`, `whole`, `tables` and `at_the_end`. A terminal that cannot move its cursor gets lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Final, Self

from attrs import define, field
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kumotwist.demo.gauges import ROUTES, TABLE, WINDOW, Gauges, Standing
from kumotwist.demo.stream import Stream
from kumotwist.demo.tally import Count, Tally

#: From nothing to most, and the same for terminals that have ASCII only.
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII: Final = "_.,-=+*#"
#: Columns of the route table without the course of the share, and lines of everything without moves and events.
_FIXED: Final = 62
_LINES: Final = 16
#: Moves for which there is always room.
_LEAST: Final = 3
#: Moves that are told at the end.
_AT_THE_END: Final = 8
_NUMBER: Final = re.compile(r"\d+")
#: Calls of `show` between two lines.
_EVERY: Final = 4


@define(eq=False)
class Screen:
    """A context manager."""

    console: Console
    tally: Tally
    gauges: Gauges
    stream: Stream
    _stack: ExitStack = field(factory=ExitStack, init=False)
    _live: Live | None = field(default=None, init=False)
    _calls: int = field(default=0, init=False)
    #: What went on when that was told last, without its numbers.
    _told: str = field(default="", init=False)

    def __enter__(self) -> Self:
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = self._stack.enter_context(Live(console=self.console, auto_refresh=False, transient=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._live = None

    def show(self, state: str, story: str) -> None:
        """Show how things stand."""
        if self._live is not None:
            self._live.update(self.whole(state, story), refresh=True)
            return
        for move in self.tally.moves.untold():
            self._line(f"  {move}")
        # Its numbers count down: that is no news.
        told = _NUMBER.sub("", story)
        if told != self._told:
            self._told = told
            self._line(f"  {story}")
        self._calls += 1
        if self._calls % _EVERY == 0:
            self._line(f"{state}: {self._in_a_line()}")

    def tables(self) -> Group:
        """Where mail goes, and what became of everything."""
        return Group(self._routes(), Text(""), self._kinds())

    def at_the_end(self) -> Group:
        """The same, with what moved where that was not printed when it did."""
        moves = self.tally.moves.untold()
        return Group(self.tables(), Text(""), *map(Text, moves[-_AT_THE_END:]))

    # -- on a terminal ----------------------------------------------------------------------------

    def whole(self, state: str, story: str) -> Group:
        """All that a terminal shows: what goes on, the tables, and the last things that happened."""
        room = max(0, self.console.height - _LINES - len(self.tally.kinds))
        moves = self.tally.moves.latest(max(_LEAST, room * 2 // 3))
        events = list(self.tally.events)[-max(1, room - len(moves)) :]
        stream = self.stream
        came = (
            f"{stream.accepted_smtp} by SMTP, {stream.accepted_http} injected, {stream.accepted_send} by the send API"
        )
        parts: list[RenderableType] = [
            Text(f"{state}: {came}", style="italic"),
            *self._lines([story], "bold"),
            Text(""),
        ]
        parts += [self.tables(), Text(""), *self._lines(moves), *self._lines(events, "dim")]
        return Group(*parts)

    def _routes(self) -> Table:
        points = max(8, min(60, self.console.width - _FIXED))
        table = _table((f"table '{TABLE}'", "share", "at rest"), (f"last {WINDOW:g} s",), ("health", "breaker"))
        for name in ("delivered", "refused"):
            table.add_column(name, justify="right", no_wrap=True)
        for route, count in self.tally.routes.items():
            standing = self.gauges.routes.get(route)
            shown = self._standing(route, standing, points) if standing is not None else ["-", "-", "", "-", "-"]
            table.add_row(count.name, *shown, str(count.delivered), str(count.refused))
        return table

    def _standing(self, route: str, one: Standing, points: int) -> list[RenderableType]:
        style = "red" if one.is_open or one.share < one.rest / 2 else "cyan" if one.share > one.rest * 1.1 else ""
        course = _spark(self.gauges.course(route, points), self._ramp)
        return [
            Text(f"{one.share:.0%}", style=style),
            f"{one.rest:.0%}",
            Text(course, style=style),
            f"{one.health:.0%}",
            Text("open" if one.is_open else "closed", style="red" if one.is_open else ""),
        ]

    def _kinds(self) -> Table:
        table = _table(("what came in", "accepted", "delivered", "refused", "bounced", "waiting", "receipts"), (), ())
        tally = self.tally
        for count in (tally.mail, *tally.kinds.values(), tally.total):
            table.add_row(*_row(count, count is tally.total), style="bold" if count is tally.total else None)
        return table

    def _lines(self, texts: Iterable[str], style: str = "") -> list[Text]:
        lines = [Text(text, no_wrap=True, style=style) for text in texts]
        for line in lines:
            # A full line would put the `^C` that a terminal echoes on the next one, and move all others up.
            line.truncate(self.console.width - len("^C "), overflow="ellipsis")
        return lines

    @property
    def _ramp(self) -> str:
        return _ASCII if self.console.options.ascii_only else _BLOCKS

    # -- elsewhere --------------------------------------------------------------------------------

    def _line(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def _in_a_line(self) -> str:
        tally = self.tally
        parts = [f"{ROUTES[route]} {one.share:.0%} of mail" for route, one in self.gauges.routes.items()]
        parts += [f"{count.name} {count.delivered}/{count.accepted}" for count in (tally.mail, *tally.kinds.values())]
        total = tally.total
        return f"{', '.join(parts)}; refused {total.refused}, bounced {total.bounced}, waiting {total.waiting}"


def _table(names: Sequence[str], courses: Sequence[str], further: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    for position, name in enumerate(names):
        table.add_column(name, justify="right" if position else "left", no_wrap=True)
    for name in courses:
        table.add_column(name, no_wrap=True)
    for name in further:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _row(count: Count, is_total: bool) -> list[str]:
    numbers = (count.accepted, count.delivered, count.refused, count.bounced, count.waiting)
    receipts = [f"{count.receipts}, {count.receipts_bad} bad"] if count.receipts else []
    receipts += [f"{count.dead} gone"] if count.dead and not is_total else []
    return [count.name, *map(str, numbers), ", ".join(receipts)]


def _spark(values: Sequence[float | None], ramp: str) -> str:
    """Small columns; the highest is the most that there was, and a quarter more, so that rest is not the top."""
    most = max((value for value in values if value is not None), default=0.0)
    if not most:
        return "".join(" " if value is None else ramp[0] for value in values)
    steps = len(ramp) - 1
    return "".join(" " if value is None else ramp[round(value / most * 0.8 * steps)] for value in values)

"""Those that budgets hold: when each has its turn, in the order in which they came.

A place comes free at the pace of the budget's rate, so whoever is held learns
his turn at once, and only as many wake as there are places. When a place is
gone all the same, to another worker, the whole line moves back by what that
takes. Who comes while others wait gets a place before them only when it has
been free for some seconds: then those it was for have gone.

This is this worker's memory and a matter of order alone; what may pass is
counted elsewhere. Public: `Lines`, `Turn`, `LOOK_EVERY`. Nothing can go wrong.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen

#: Seconds after which a held message is tried before its turn: policy may have raised its budget, or those ahead have
#: been bounced. Ours: a hundred thousand that are held cost some hundred tries a second.
LOOK_EVERY: Final = 600.0
#: Seconds for which a place has been free when nobody is expected to come for it. Ours: the wheel turns once a second.
_UNCLAIMED: Final = 3.0
#: Seconds of coming late that are a message's own matter, as by hours at which it may not go, and delay no line.
_OWN_LATENESS: Final = 30.0
#: Messages whose turns are remembered; the others are tried every now and then. Ours: some 50 MB at worst.
_MAX_TURNS: Final = 200_000
#: Seconds between two searches for what can be forgotten, and after its turn that a message counts as gone.
_SWEEP_EVERY: Final = 120.0
_GONE_AFTER: Final = 2 * LOOK_EVERY


@define(eq=False)
class _Line:
    """`next_turn` is that of whoever comes next; all turns are `lag` seconds later than they say."""

    next_turn: float
    lag: float = 0.0

    def at(self, turn: float) -> float:
        """Unix seconds of a turn."""
        return turn + self.lag


@frozen
class Turn:
    """When it is, in Unix seconds, and whether the message was not in this line before."""

    at: float
    is_new: bool


@define(eq=False)
class Lines:
    """One line for each budget that holds something."""

    max_turns: int = _MAX_TURNS
    _lines: dict[str, _Line] = field(factory=dict, init=False)
    _turns: dict[bytes, tuple[_Line, float]] = field(factory=dict, init=False)
    _sweep_at: float = field(default=0.0, init=False)

    def __len__(self) -> int:
        return len(self._turns)

    def is_due(self, message: bytes, now: float) -> bool:
        """Whether the message is in a line, and its turn has come."""
        known = self._turns.get(message)
        return known is not None and known[0].at(known[1]) <= now

    def behind(self, key: str, now: float) -> float:
        """For how many seconds a place must have been free for one whose turn has not come."""
        line = self._lines.get(key)
        return _UNCLAIMED if line is not None and line.at(line.next_turn) > now else 0.0

    def turn(self, message: bytes, key: str, wait: float, now: float) -> Turn:
        """The turn of a message that finds no place for `wait` seconds; it is in line only with `join`."""
        line = self._lines.get(key)
        known = self._turns.get(message)
        if line is not None and known is not None and known[0] is line:
            return Turn(max(line.at(known[1]), now + wait), False)
        return Turn(max(line.at(line.next_turn), now + wait) if line is not None else now + wait, True)

    def join(self, message: bytes, key: str, turn: Turn, interval: float, now: float) -> None:
        """Have it wait for that turn; a place comes each `interval` seconds."""
        if turn.is_new:
            self._sweep(now)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(turn.at)
        if turn.is_new:
            line.next_turn = turn.at - line.lag + interval
            if message in self._turns or len(self._turns) < self.max_turns:
                self._turns[message] = line, turn.at - line.lag
        else:
            self._move(message, line, turn, now)

    def _move(self, message: bytes, line: _Line, turn: Turn, now: float) -> None:
        """One that is in line has a later turn than it had: all others have, too, unless it came late by itself."""
        before = line.at(self._turns[message][1])
        if now - before > _OWN_LATENESS:
            self._turns[message] = line, turn.at - line.lag
        elif turn.at > before:
            line.lag += turn.at - before

    def leave(self, message: bytes) -> None:
        """It has got its place, or another way."""
        self._turns.pop(message, None)

    def _sweep(self, now: float) -> None:
        if self._sweep_at - _SWEEP_EVERY <= now < self._sweep_at:
            return
        self._sweep_at = now + _SWEEP_EVERY
        gone = [one for one, (line, turn) in self._turns.items() if line.at(turn) < now - _GONE_AFTER]
        for one in gone:
            del self._turns[one]
        over = [key for key, line in self._lines.items() if line.at(line.next_turn) < now - _GONE_AFTER]
        for key in over:
            del self._lines[key]

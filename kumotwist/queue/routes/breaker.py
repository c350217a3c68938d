"""The circuit breaker: a route that died is left within a few messages, not within a few minutes.

A sequential test (CUSUM, Page 1954) adds up, message by message, how much
likelier what happened is under "dead" than under "alive"; it never falls below
0, so an hour of success does not delay the alarm. At the threshold whoever owns
the breaker opens it, if another route is any better. After a pause one trial
message at a time goes through; enough of them in a row close it, one failure
makes the pause longer.

Public: `Breaker`, `State`. No clock of its own: `now` is given, in Unix seconds.
"""

from __future__ import annotations

import enum
from math import log
from typing import Final

from attrs import define, field

from kumotwist.queue.rest import Rest

#: Rates of failure by which alive and dead are told apart, and how much likelier "dead" must be. Ours: four
#: failures in a row raise the alarm; a route that fails one time in ten does so once in ten thousand messages, and
#: then loses a few seconds' traffic.
_ALIVE: Final = 0.05
_DEAD: Final = 0.95
_SURE: Final = 1e4
_THRESHOLD: Final = log(_SURE)
#: What the newest message counts in `usual`, and the worst that is usual. Ours: a hundred messages; fifteen failures in
#: a row are death where every second message fails anyway.
_NEWEST_OF_MANY: Final = 0.01
_USUAL: Final = 0.5
#: What the newest message counts in `recent`, and what is well there. Ours: a storm shows after some twenty messages.
_NEWEST: Final = 0.05
_WELL: Final = 0.7
#: What is dead there, for a route that is the last way: some thirty-two failures in a row. Ours: a last way that
#: still takes half of the messages is better than shut ones, and hardly ever looks like that.
_GONE: Final = 0.2
#: Trials in a row that must succeed. Ours: a route at half strength passes one time in eight.
_TRIALS: Final = 3
#: Seconds before the first trial and at the most between two, and how the pause grows. Ours: a route that stays dead
#: costs nine messages in twenty minutes, and is found again ten minutes after it recovered at the latest.
FIRST_PAUSE: Final = 2.0
MAX_PAUSE: Final = 600.0
_GROWTH: Final = 4.0
#: Seconds by which another worker's word may be ahead of when it is heard. Ours: a busy machine reads late.
_AHEAD: Final = 60.0
#: Seconds after which a trial that nobody answered for is given up: no channel waits longer.
_TRIAL_TIMEOUT: Final = 300.0


class State(enum.Enum):
    """As metrics and records name it."""

    CLOSED = "closed"
    OPEN = "open"
    TRIAL = "trial"


@define(eq=False)
class Breaker:
    """One breaker. Ask `allows` before a message is sent that way, tell `note` what became of it."""

    state: State = State.CLOSED
    #: How many times likelier "dead" is than "alive", as a logarithm.
    suspicion: float = 0.0
    #: The part of the last messages that went well, newer ones counting more; 1 before any, and when it has closed.
    recent: float = 1.0
    #: The part of the last hundred messages or so that failed while it was closed.
    usual: float = 0.0
    until: float = 0.0
    pause: float = FIRST_PAUSE
    #: When it opened or closed last, here or at the worker that it followed; 0 for never. A failed trial is no move.
    moved: float = 0.0
    #: It would have been opened, but was the last way; until three messages in a row go well.
    is_spared: bool = False
    #: Why it is open, if that is for a rest of the account.
    rest: Rest | None = None
    #: Messages since suspicion arose, and how many of them failed: what the test rests on.
    seen: int = 0
    failed: int = 0
    _passed: int = field(default=0, init=False)
    #: Whether any trial went well since it opened.
    _has_passed: bool = field(default=False, init=False)
    #: A trial before its time, see `try_soon`: whether the next one is, how long none may be, and how that grows.
    _is_soon: bool = field(default=False, init=False)
    _soon_from: float = field(default=0.0, init=False)
    _soon_pause: float = field(default=FIRST_PAUSE, init=False)
    _opened: float = field(default=0.0, init=False)

    def allows(self, now: float) -> bool:
        """Whether a message may go this way; when the pause is over, one may, as a trial."""
        return self.state is State.CLOSED or self._is_over(now)

    def take(self, now: float) -> None:
        """A message goes this way: if it is a trial, it is the only one until it is answered."""
        if self.state is not State.CLOSED and self._is_over(now):
            self.state = State.TRIAL
            self.until = now + _TRIAL_TIMEOUT

    def give_back(self, taken: float, again: float) -> None:
        """The trial that a message took at `taken` showed nothing, if it was one: the next may be from `again` on."""
        if self.state is State.TRIAL and self.until == taken + _TRIAL_TIMEOUT:
            self.until = again

    def note(self, is_good: bool, now: float, since: float, alike: float = 0.0) -> None:
        """What became of a message that was sent this way at `since`; of others the part `alike` fails.

        A closed breaker does not open by itself: see `is_alarmed`. Messages
        from before it opened or closed last say nothing about it as it is now;
        those that went by an open one all the same, since no other was left,
        are trials like any other.
        """
        if self._is_of_before(since, now):
            return
        self.recent += _NEWEST * (is_good - self.recent)
        if self.state is State.CLOSED:
            if self.suspicion <= 0.0:
                self.seen = self.failed = 0
            self.seen, self.failed = self.seen + 1, self.failed + (not is_good)
            if not is_good or self.suspicion > 0.0:
                alive = min(max(_ALIVE, self.usual, alike), _USUAL)
                likelier = (1.0 - _DEAD) / (1.0 - alive) if is_good else _DEAD / alive
                self.suspicion = max(0.0, self.suspicion + log(likelier))
            self.usual += _NEWEST_OF_MANY * ((not is_good) - self.usual)
            if self.is_spared:
                self._passed = self._passed + 1 if is_good else 0
                self.is_spared = self._passed < _TRIALS
        elif self.state is State.TRIAL:
            self._tried(is_good, now, alike)
        else:
            self._passed = self._passed + 1 if is_good else 0
            self._close_when_passed(now)

    def _is_of_before(self, since: float, now: float) -> bool:
        """Whether a message that was sent at `since` tells of times before the last move, or the last failed trial.

        A trial may be sent at the moment at which it opened here, as another worker's had before.
        """
        if self.state is State.CLOSED:
            return since < self.moved <= now
        if self.state is State.TRIAL:
            return since < self._opened <= now
        return since <= self._opened <= now

    @property
    def failing(self) -> float:
        """The part of its messages that fails, by the last twenty or the last hundred, whichever is more."""
        return max(self.usual, 1.0 - self.recent)

    @property
    def is_alarmed(self) -> bool:
        """Whether it is closed and should be opened, if there is a better way to go."""
        return self.state is State.CLOSED and self.suspicion >= _THRESHOLD

    @property
    def is_well(self) -> bool:
        """Whether it is closed and its last twenty messages or so went well."""
        return self.state is State.CLOSED and self.recent >= _WELL

    @property
    def is_out(self) -> bool:
        """Whether it is open, or would be if there were another way."""
        return self.is_spared or self.state is not State.CLOSED

    @property
    def is_gone(self) -> bool:
        """Whether hardly anything has gone well for some thirty messages."""
        return self.recent < _GONE

    def open(self, now: float) -> None:
        """Let nothing through until the first trial."""
        self._open(now, FIRST_PAUSE)

    def begin_rest(self, rest: Rest, now: float) -> bool:
        """Let nothing through while the account rests; the trial is at its end. Whether this is a change."""
        if self.state is State.OPEN and self.rest == rest:
            return False
        moved = now if self.state is State.CLOSED else self.moved
        self._open(now, rest.left(now))
        self.moved, self.pause, self.rest = moved, FIRST_PAUSE, rest
        return True

    def end_rest(self) -> None:
        """It is another account now: the trial may be at once."""
        if self.rest is not None:
            self.until, self.rest = self.moved, None

    @property
    def open_until(self) -> float:
        """When the next trial may be, for other workers; 0 for a closed one."""
        if self.state is State.CLOSED:
            return 0.0
        # A trial is this worker's own affair; whoever follows makes one, too.
        return self.until if self.state is State.OPEN else self.moved

    def follow(self, until: float, moved: float, now: float, rest: Rest | None = None) -> bool:
        """Do as another worker's breaker did at `moved`, or this one before a restart; whether that changes it.

        `until` is when the next trial may be, 0 for a closed one, at the end of
        a `rest` if it is open for that. A pause that
        is over leaves the trial to be made. What is older than the last move of
        this one is no news: else two workers would open each other's for ever.
        Nor is a trial that failed there after trials that went well here: it
        may be one of the few that fail on any route. A move that is in the
        future, of either, is from before the clock was put back and none.
        """
        is_closed = self.state is State.CLOSED
        own = self.moved if self.moved <= now + _AHEAD else 0.0
        if not own < moved <= now + _AHEAD or is_closed is (until <= 0.0):
            return False
        if is_closed:
            self._open(now, min(max(until - now, 0.0), MAX_PAUSE))
            if rest is not None and rest.left(now):
                self.begin_rest(rest, now)
        else:
            self._close()
        self.moved = moved
        return True

    def try_soon(self, now: float) -> None:
        """Another way is well again, so this one may be, too: the next trial need not wait.

        Each time that this was wrong it takes longer until it is believed
        again, since the other one may come and go all day. A rest lasts as
        long as was said.
        """
        if self.state is State.OPEN and not self._is_resting(now) and not 0.0 < self._soon_from - now <= MAX_PAUSE:
            self.until, self.pause, self._is_soon = min(self.until, now), FIRST_PAUSE, True

    def keep_trying(self, now: float) -> None:
        """All ways are shut, so a trial costs nothing: the pause before the next one does not grow."""
        if self.state is State.OPEN and not self._is_resting(now):
            self.until, self.pause = min(self.until, now + FIRST_PAUSE), FIRST_PAUSE

    def spare(self) -> None:
        """It is the last way and fails like the others."""
        self.suspicion, self._passed, self.is_spared = 0.0, 0, True

    def calm(self) -> None:
        """Nobody else is better: watch anew."""
        self.suspicion = 0.0

    def _is_over(self, now: float) -> bool:
        """Whether the pause is; so it is, too, when the clock was put back by more than any pause lasts."""
        longest = MAX_PAUSE if self.rest is None else max(MAX_PAUSE, self.rest.until - self.rest.began)
        return not 0.0 < self.until - now <= longest

    def _is_resting(self, now: float) -> bool:
        return self.rest is not None and self.rest.left(now) > 0.0

    def _tried(self, is_good: bool, now: float, alike: float) -> None:
        if not is_good:
            # Of one that is as poor as all others a failed trial says little, and costs what any message does.
            is_like_others = self._has_passed and alike > 1.0 - _WELL
            pause = FIRST_PAUSE if is_like_others else min(max(self.pause, FIRST_PAUSE) * _GROWTH, MAX_PAUSE)
            if self._is_soon:
                self._soon_from, self._soon_pause = now + self._soon_pause, min(self._soon_pause * _GROWTH, MAX_PAUSE)
            moved, self._is_soon = self.moved, False
            self._open(now, pause)
            self.moved = moved
            return
        self._passed += 1
        self._has_passed = True
        self.until = now
        self._close_when_passed(now)

    def _close_when_passed(self, now: float) -> None:
        if self._passed >= _TRIALS:
            self._close()
            self.moved = now

    def _close(self) -> None:
        self.state, self.suspicion, self.recent, self.pause = State.CLOSED, 0.0, 1.0, FIRST_PAUSE
        self.is_spared = self._is_soon = self._has_passed = False
        self.rest = None
        self._soon_from, self._soon_pause = 0.0, FIRST_PAUSE

    def _open(self, now: float, pause: float) -> None:
        self.state, self.pause, self.until, self._passed = State.OPEN, pause, now + pause, 0
        self.moved = self._opened = now
        self.is_spared, self.rest = False, None

"""What a test has the other side say: the answers of channels, written as lists in Lua.

    { 250, 'ok' }                taken over
    { 451, '4.3.0 later' }       refused for now; 421 also ends the session
    { 550, '5.1.1 unknown' }     refused for good
    { 'throttled', 30 }          the account has used up its rate, for so many seconds
    { 'account', 'no credit' }   our key, account or balance is at fault
    { 'unreachable' }            there is no connection to be had
    { 'unknown' }, { 'timeout' } no reply after the message had left: it may have arrived

A list is used up in order, and its last answer holds from then on. In place of
an answer, or of the list, may stand a function that is given the message.
Besides, whoever answers may be down, or slow, for a while.

Public: `Answers`, `Answer`, `answered`, `is_unreachable`, `UNREACHABLE`. Raises ValueError for what is no answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeAlias

from attrs import define, evolve, field

from kumotwist.core.errors import KumotwistError
from kumotwist.core.message import Message
from kumotwist.core.outcome import SOURCE_REST, Outcome, Peer, Scope, Verdict
from kumotwist.core.response import Response, internal
from kumotwist.lua.binding import LuaFunction, callback, duration, integer, sequence, text
from kumotwist.trial.policytest.unscripted import Unscripted

#: What stands for an outcome until somebody asks for it.
Answer: TypeAlias = "Outcome | LuaFunction"

_WORDS: Final = ("throttled", "account", "unreachable", "unknown", "timeout")
_REASONS: Final = {
    "unreachable": "failed to connect to any candidate hosts: refused",
    "unknown": "connection lost",
    "timeout": "no reply within 60 s",
}
UNREACHABLE: Final = "unreachable"


def outcome(value: object) -> Outcome:
    """The outcome that a table of Lua stands for, without a peer. Raises ValueError."""
    words = sequence(value, "an answer")
    first, second = (*words, None, None)[:2]
    if isinstance(first, str):
        return _special(first, second)
    code = integer(first, "the code of an answer")
    if not 200 <= code <= 599:
        raise ValueError(f"the code of an answer must be from 200 to 599, got {code}")
    response = Response.parse(code, "" if second is None else text(second, "the text of an answer"))
    if code < 400:
        return Outcome(Verdict.DELIVERED, response, Scope.MESSAGE)
    scope = Scope.SESSION if code == 421 else Scope.MESSAGE
    return Outcome(Verdict.TRANSIENT if code < 500 else Verdict.PERMANENT, response, scope)


def _special(word: str, second: object) -> Outcome:
    if word in ("throttled", "account"):
        return _at_rest(word, second)
    if word not in _REASONS:
        raise ValueError(f"an answer begins with a code or one of {', '.join(_WORDS)}, got {word!r}")
    if word == UNREACHABLE:
        return unreachable()
    return Outcome(Verdict.TRANSIENT, internal(400, _REASONS[word]), Scope.SESSION, is_ambiguous=True)


def _at_rest(word: str, second: object) -> Outcome:
    """What providers' channels make of 429, and of 401 and its like."""
    if word == "throttled":
        said = "429 Too Many Requests"
        rest = SOURCE_REST if second is None else duration(second, "the seconds of 'throttled'")
    else:
        said = f"401 Unauthorized: {'the key' if second is None else text(second, 'the text of an answer')}"
        rest = SOURCE_REST
    return Outcome(Verdict.TRANSIENT, Response(421, said), Scope.SOURCE, retry_after=rest)


def unreachable() -> Outcome:
    """There is no connection to be had."""
    return Outcome(Verdict.TRANSIENT, internal(400, _REASONS[UNREACHABLE]), Scope.SESSION, reason=UNREACHABLE)


def is_unreachable(answer: Answer) -> bool:
    """Whether there is not even a connection."""
    return isinstance(answer, Outcome) and answer.reason == UNREACHABLE


@define(eq=False)
class Answers:
    """The lists by whom they are for; until when they are down, and for how long they think about it."""

    _lists: dict[str, deque[Answer]] = field(factory=dict)
    _down_until: dict[str, float] = field(factory=dict)
    _delays: dict[str, float] = field(factory=dict)

    def give(self, whom: str, value: object) -> None:
        """From now on `whom` answers so. Raises ValueError."""
        given = [value] if callable(value) or _is_single(value) else sequence(value, "answers")
        if not given:
            raise ValueError("there must be an answer")
        self._lists[whom] = deque(callback(one, "an answer") if callable(one) else outcome(one) for one in given)

    def take_down(self, whom: str, until: float) -> None:
        """Have `whom` unreachable until then."""
        self._down_until[whom] = until

    def slow_down(self, whom: str, seconds: float) -> None:
        """Have `whom` answer so much later from now on."""
        self._delays[whom] = seconds

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said of anybody."""
        return not (self._lists or self._down_until or self._delays)

    def is_down(self, names: Iterable[str], now: float) -> bool:
        """Whether one of `names` is."""
        return any(self._down_until.get(name, 0.0) > now for name in names)

    def delay(self, names: Iterable[str]) -> float:
        """Seconds that the first of `names` takes of which that was said."""
        return next((self._delays[name] for name in names if name in self._delays), 0.0)

    def peek(self, names: Iterable[str]) -> Answer | None:
        """The answer that comes next for the first of `names` that has any."""
        return next((self._lists[name][0] for name in names if name in self._lists), None)

    def take(self, names: Iterable[str]) -> Answer | None:
        """The same, and the following one is next."""
        answers = next((self._lists[name] for name in names if name in self._lists), None)
        if answers is None:
            return None
        return answers.popleft() if len(answers) > 1 else answers[0]


async def answered(answer: Answer | None, message: Message, peer: Peer, unscripted: Unscripted) -> Outcome:
    """The outcome for `message`; without an answer it is taken over.

    A function that fails, or returns none, is noted; the message waits.
    """
    if answer is None:
        found = Outcome(Verdict.DELIVERED, Response(250, "ok"), Scope.MESSAGE)
    elif isinstance(answer, Outcome):
        found = answer
    else:
        try:
            results = await answer(message)
            found = outcome(results[0] if results else None)
        except (KumotwistError, ValueError) as error:
            found = Outcome(Verdict.TRANSIENT, internal(400, unscripted.note(str(error))), Scope.MESSAGE)
    return evolve(found, response=found.response.with_command("."), peer=peer)


def _is_single(value: object) -> bool:
    """Whether it is one answer and no list of them."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], (int, str))

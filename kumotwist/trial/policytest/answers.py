"""What a test has the other side say: the answers of channels, written as lists in Lua.

    { 250, 'ok' }             taken over
    { 451, '4.3.0 later' }    refused for now; 421 also ends the session
    { 550, '5.1.1 unknown' }  refused for good
    { 'throttled', 30 }       the account has used up its rate, for so many seconds
    { 'unreachable' }         there is no connection to be had
    { 'unknown' }             the connection broke after the message had left

A list is used up in order, and its last answer holds from then on. In place of
an answer, or of the list, may stand a function that is given the message.

Public: `Answers`, `Answer`. Raises ValueError for what is no answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeAlias

from attrs import define, field

from kumotwist.core.message import Message
from kumotwist.core.outcome import SOURCE_REST, Outcome, Peer, Scope, Verdict
from kumotwist.core.response import Response, internal
from kumotwist.lua.binding import LuaFunction, callback, integer, number, sequence, text

#: What stands for an outcome until somebody asks for it.
Answer: TypeAlias = "Outcome | LuaFunction"

_WORDS: Final = ("throttled", "unreachable", "unknown")
_REASONS: Final = {"unreachable": "failed to connect to any candidate hosts: refused", "unknown": "connection lost"}
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
    if word == "throttled":
        rest = SOURCE_REST if second is None else number(second, "the seconds of 'throttled'")
        return Outcome(Verdict.TRANSIENT, Response(429, "throttled"), Scope.SOURCE, retry_after=rest)
    if word not in _REASONS:
        raise ValueError(f"an answer begins with a code or one of {', '.join(_WORDS)}, got {word!r}")
    response = internal(400, _REASONS[word])
    is_open = word == "unknown"
    return Outcome(
        Verdict.TRANSIENT, response, Scope.SESSION, is_ambiguous=is_open, reason=None if is_open else UNREACHABLE
    )


def is_unreachable(answer: Answer) -> bool:
    """Whether there is not even a connection."""
    return isinstance(answer, Outcome) and answer.reason == UNREACHABLE


@define(eq=False)
class Answers:
    """The lists by whom they are for."""

    _lists: dict[str, deque[Answer]] = field(factory=dict)

    def give(self, whom: str, value: object) -> None:
        """From now on `whom` answers so. Raises ValueError."""
        given = [value] if callable(value) or _is_single(value) else sequence(value, "answers")
        if not given:
            raise ValueError("there must be an answer")
        self._lists[whom] = deque(callback(one, "an answer") if callable(one) else outcome(one) for one in given)

    def has(self, names: Iterable[str]) -> bool:
        """Whether there is a list for one of `names`."""
        return any(name in self._lists for name in names)

    def peek(self, names: Iterable[str]) -> Answer | None:
        """The answer that comes next for the first of `names` that has any."""
        return next((self._lists[name][0] for name in names if name in self._lists), None)

    def take(self, names: Iterable[str]) -> Answer | None:
        """The same, and the following one is next."""
        answers = next((self._lists[name] for name in names if name in self._lists), None)
        if answers is None:
            return None
        return answers.popleft() if len(answers) > 1 else answers[0]


async def answered(answer: Answer | None, message: Message, peer: Peer) -> Outcome:
    """The outcome for `message`; without an answer it is taken over. Raises ValueError."""
    if answer is None:
        found = Outcome(Verdict.DELIVERED, Response(250, "ok"), Scope.MESSAGE)
    elif isinstance(answer, Outcome):
        found = answer
    else:
        results = await answer(message)
        found = outcome(results[0] if results else None)
    reason = None if found.reason == UNREACHABLE else found.reason
    return Outcome(
        found.verdict,
        found.response.with_command("."),
        found.scope,
        peer,
        found.retry_after,
        is_ambiguous=found.is_ambiguous,
        reason=reason,
    )


def _is_single(value: object) -> bool:
    """Whether it is one answer and no list of them."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], (int, str))

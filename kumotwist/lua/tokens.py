"""Tokens: what stands for a value while it crosses between Python and Lua.

A scalar stands for itself; a marker begins anything else, as `LIST n ...` and
`DICT n ...`, both ways.

Public: `Marker`, the markers, `MARKERS`, `Reader`. What can go wrong: nothing; the streams are our own (values.lua).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from kumotwist.lua.binding import LuaFunction


class Marker:
    """A token that no policy can make; compared by identity."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


LIST: Final = Marker("LIST")
DICT: Final = Marker("DICT")
FUNCTION: Final = Marker("FUNCTION")
FACADE: Final = Marker("FACADE")
CLASS: Final = Marker("CLASS")
BUILD: Final = Marker("BUILD")
FAIL: Final = Marker("FAIL")
WAIT: Final = Marker("WAIT")
PLACE: Final = Marker("PLACE")
STASHED: Final = Marker("STASHED")
MARKERS: Final = (LIST, DICT, FUNCTION, FACADE, CLASS, BUILD, FAIL, WAIT, PLACE, STASHED)


class Reader:
    """Reads a stream of tokens; `function` makes the object for a Lua function from its number and its place."""

    __slots__ = ("_binary", "_function", "_position", "_tokens")

    def __init__(self, tokens: Sequence[object], binary: bool, function: Callable[[int, str], LuaFunction]) -> None:
        self._tokens = tokens
        self._binary = binary
        self._function = function
        self._position = 0

    @property
    def has_more(self) -> bool:
        """Whether there is another value."""
        return self._position < len(self._tokens)

    def _take(self) -> object:
        token = self._tokens[self._position]
        self._position += 1
        return token

    def _count(self) -> int:
        count = self._take()
        assert isinstance(count, int)
        return count

    def value(self) -> object:
        """The next value."""
        token = self._take()
        if isinstance(token, bytes):
            return token if self._binary else _text(token)
        if token is LIST:
            return [self.value() for _ in range(self._count())]
        if token is DICT:
            return dict(self._entry() for _ in range(self._count()))
        if token is FUNCTION:
            return self._function(self._count(), str(self.value()))
        return token

    def _entry(self) -> tuple[object, object]:
        key = self._take()
        return _text(key) if isinstance(key, bytes) else key, self.value()


def _text(octets: bytes) -> str | bytes:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets

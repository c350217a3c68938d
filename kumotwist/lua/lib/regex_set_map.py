"""`kumo.regex_set_map`: values by the regular expression that a string matches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kumotwist.lua.binding import Function, facade, mapping
from kumotwist.lua.lib.regex import Regex, compiled


@facade("regex set map", meta={"__index": "find", "__pairs": "entries", "__len": "size"})
class RegexSetMap:
    """Patterns with their values; cannot be changed once made.

    Where several patterns match, the one that sorts first wins, so that the
    answer does not depend on the order of a Lua table.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values: list[tuple[Regex, object]] = [(compiled(pattern), values[pattern]) for pattern in sorted(values)]

    def find(self, haystack: object) -> object:
        """The value of the pattern that matches the string; nil when none does."""
        if not isinstance(haystack, str):
            return None
        return next((value for pattern, value in self._values if pattern.matches(haystack)), None)

    def entries(self) -> Iterable[tuple[object, object]]:
        """All patterns with their values."""
        return [(pattern.pattern, value) for pattern, value in self._values]

    def size(self) -> int:
        """How many patterns there are."""
        return len(self._values)


class RegexSetMapLibrary:
    """The functions of `kumo.regex_set_map`."""

    namespace = "regex_set_map"

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"new": self.new}

    def new(self, map: object = None) -> RegexSetMap:  # noqa: A002 - the documented name
        """A regex set map from a table of patterns and values."""
        return RegexSetMap(mapping(map or {}, "map"))

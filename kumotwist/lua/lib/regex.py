"""`kumo.regex`: regular expressions in Rust's syntax, with a bound on their time.

A pattern that backtracks without end would hold up all mail, so each call may
take `TIMEOUT` seconds and then raises. See decision 0042.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from typing import Final

import regex

from kumotwist.lua.binding import Function, facade, integer, text
from kumotwist.lua.lib.regexsyntax import escape, expand, translate

#: Seconds of one call. Ours: a thousand times what a sound pattern needs on a
#: mail header, and short enough that a bad one is noticed before peers time out.
TIMEOUT: Final = 0.1
#: Characters of a pattern, and compiled patterns kept.
MAX_PATTERN: Final = 65536
MAX_COMPILED: Final = 1024

_METHODS: Final = ("captures", "find", "find_all", "is_match", "replace", "replace_all", "replacen", "split")


@facade("regex", methods=_METHODS, meta={"__tostring": "text"})
class Regex:
    """A compiled regular expression."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_PATTERN:
            raise ValueError(f"the pattern has more than {MAX_PATTERN} characters")
        self.pattern = pattern
        try:
            self._compiled = regex.compile(translate(pattern), regex.VERSION1)
        except (regex.error, RecursionError) as error:
            raise ValueError(f"not a regular expression: {pattern!r}: {error}") from None

    def captures(self, haystack: object) -> dict[int | str, str] | None:
        """The first match: the whole at 0, groups by number and by name; nil without a match."""
        match = self._search(text(haystack, "haystack"))
        if match is None:
            return None
        groups: dict[int | str, str] = {0: match[0]}
        groups.update((index, one) for index, one in enumerate(match.groups(), 1) if one is not None)
        groups.update((name, one) for name, one in match.groupdict().items() if one is not None)
        return groups

    def find(self, haystack: object) -> str | None:
        """The text of the first match; nil without a match."""
        match = self._search(text(haystack, "haystack"))
        return match[0] if match is not None else None

    def find_all(self, haystack: object) -> list[str]:
        """The texts of all matches that do not overlap."""
        return [match[0] for match in self._matches(text(haystack, "haystack"))]

    def is_match(self, haystack: object) -> bool:
        """Whether the pattern matches anywhere in the string."""
        return self.matches(text(haystack, "haystack"))

    def replace(self, haystack: object, replacement: object) -> str:
        """The string with the first match replaced; `$1`, `$name` and `${name}` stand for groups, `$$` for a dollar."""
        return self._replaced(text(haystack, "text"), 1, text(replacement, "replacement"))

    def replace_all(self, haystack: object, replacement: object) -> str:
        """The string with every match replaced, as by `replace`."""
        return self._replaced(text(haystack, "text"), 0, text(replacement, "replacement"))

    def replacen(self, haystack: object, limit: object, replacement: object) -> str:
        """The string with at most `limit` matches replaced, all when `limit` is 0, as by `replace`."""
        count = integer(limit, "limit")
        if count < 0:
            raise ValueError("limit must not be negative")
        return self._replaced(text(haystack, "text"), count, text(replacement, "replacement"))

    def split(self, haystack: object) -> list[str]:
        """The parts of the string between the matches."""
        source = text(haystack, "text")
        parts, last = [], 0
        for match in self._matches(source):
            parts.append(source[last : match.start()])
            last = match.end()
        return [*parts, source[last:]]

    def text(self) -> str:
        """The pattern as it was given."""
        return self.pattern

    def matches(self, haystack: str) -> bool:
        """Whether the pattern matches anywhere. Raises ValueError when it takes too long."""
        return self._search(haystack) is not None

    def _search(self, haystack: str) -> regex.Match[str] | None:
        try:
            return self._compiled.search(haystack, timeout=TIMEOUT)
        except TimeoutError:
            raise self._too_slow() from None

    def _matches(self, haystack: str) -> Iterator[regex.Match[str]]:
        """All matches; as in Rust, an empty one never right behind another."""
        end = -1
        try:
            for match in self._compiled.finditer(haystack, timeout=TIMEOUT):
                if match.end() != end:
                    yield match
                end = match.end()
        except TimeoutError:
            raise self._too_slow() from None

    def _replaced(self, source: str, limit: int, template: str) -> str:
        parts, last = [], 0
        for number, match in enumerate(self._matches(source), 1):
            parts.append(source[last : match.start()])
            parts.append(expand(template, partial(_group, match)))
            last = match.end()
            if number == limit:
                break
        return "".join(parts) + source[last:]

    def _too_slow(self) -> ValueError:
        return ValueError(f"the regular expression {self.pattern!r} took longer than {TIMEOUT} s and was stopped")


def _group(match: regex.Match[str], name: str) -> str:
    """The text of a group; "" for one that is not there or took no part."""
    try:
        return match[int(name) if name.isdigit() else name] or ""
    except IndexError:
        return ""


@lru_cache(maxsize=MAX_COMPILED)
def compiled(pattern: str) -> Regex:
    """The compiled pattern, the same object for the same pattern. Raises ValueError."""
    return Regex(pattern)


class RegexLibrary:
    """The functions of `kumo.regex`."""

    namespace = "regex"

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"compile": self.compile, "escape": self.escape}

    def compile(self, pattern: object) -> Regex:
        """A regular expression object."""
        return compiled(text(pattern, "pattern"))

    def escape(self, string: object) -> str:
        """A pattern that matches just this string."""
        return escape(text(string, "string"))

"""`kumo.string`: plain string operations, by text and not by Lua pattern."""

from __future__ import annotations

from collections.abc import Mapping

from kumotwist.lua.binding import Function, binary, octets, text


class StringLibrary:
    """The functions of `kumo.string`."""

    namespace = "string"

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {
            "ends_with": self.ends_with,
            "replace": self.replace,
            "split": self.split,
            "starts_with": self.starts_with,
            "trim": self.trim,
        }

    @binary
    def ends_with(self, string: object, suffix: object) -> bool:
        """Whether the string ends with exactly this suffix."""
        return octets(string, "string").endswith(octets(suffix, "suffix"))

    def replace(self, string: object, old: object, new: object) -> str:
        """The string with every occurrence of `old` replaced by `new`."""
        return text(string, "string").replace(text(old, "from"), text(new, "to"))

    def split(self, string: object, separator: object) -> list[str]:
        """The parts between the separators; an empty separator splits between all characters."""
        whole, by = text(string, "string"), text(separator, "pattern")
        return whole.split(by) if by else ["", *whole, ""]

    @binary
    def starts_with(self, string: object, prefix: object) -> bool:
        """Whether the string starts with exactly this prefix."""
        return octets(string, "string").startswith(octets(prefix, "prefix"))

    def trim(self, string: object) -> str:
        """The string without white space at both ends."""
        return text(string, "string").strip()

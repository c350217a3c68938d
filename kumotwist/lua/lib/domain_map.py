"""`kumo.domain_map`: values by domain name, with wildcards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kumotwist.lua.binding import Function, facade, mapping, text


@facade("domain map", meta={"__index": "find", "__newindex": "store", "__pairs": "entries", "__len": "size"})
class DomainMap:
    """Values by name; `*.example.com` stands for every name below `example.com`.

    Names are compared without regard to case and trailing dot. The exact name
    wins, then the longest wildcard.
    """

    def __init__(self) -> None:
        self._values: dict[str, object] = {}

    def find(self, name: object) -> object:
        """The value for a name; nil when nothing matches."""
        if not isinstance(name, str):
            return None
        key = _normal(name)
        exact = self._values.get(key)
        if exact is not None:
            return exact
        while key:
            _, _, key = key.partition(".")
            found = self._values.get(f"*.{key}")
            if found is not None:
                return found
        return None

    def store(self, name: object, value: object) -> None:
        """Set the value of a name or wildcard; nil takes it away."""
        key = _normal(text(name, "domain"))
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value

    def entries(self) -> Iterable[tuple[object, object]]:
        """All names and wildcards with their values."""
        return list(self._values.items())

    def size(self) -> int:
        """How many entries there are."""
        return len(self._values)


class DomainMapLibrary:
    """The functions of `kumo.domain_map`."""

    namespace = "domain_map"

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"new": self.new}

    def new(self, map: object = None) -> DomainMap:  # noqa: A002 - the documented name
        """A domain map, filled from the table when one is given."""
        made = DomainMap()
        for name, value in mapping(map or {}, "map").items():
            made.store(name, value)
        return made


def _normal(name: str) -> str:
    return name.lower().rstrip(".")

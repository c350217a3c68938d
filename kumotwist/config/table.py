"""Tables inside options: mappings that can be hashed, since options are keys.

Channels and ready queues are found by the options that they were made for.

Public: `Table`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

V = TypeVar("V")


class Table(dict[str, V]):
    """A mapping that nobody changes once it is made. Its values are JSON or hashable."""

    def __hash__(self) -> int:  # type: ignore[override]  # dict says None
        return hash(frozenset((name, _hashable(value)) for name, value in self.items()))


def _hashable(value: object) -> object:
    if isinstance(value, Mapping):
        return frozenset((name, _hashable(one)) for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_hashable(one) for one in value)
    return value

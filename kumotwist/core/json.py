"""JSON values: message metadata, log records, API bodies. Public: `Json`, `JsonObject`, `at`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]


def at(value: Any, *path: str | int) -> Any:
    """What stands at `path` inside decoded JSON; None where there is nothing of the kind."""
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, Mapping) else None
        else:
            value = value[step] if isinstance(value, list) and -len(value) <= step < len(value) else None
    return value

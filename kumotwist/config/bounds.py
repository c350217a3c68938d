"""Validators of options whose value has bounds.

Public: `between`, `positive`, `octets`. None stands for an option that was not
given, and is always right. What can go wrong: ValueError, which the policy's
author sees with the option's path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def between(least: int, most: int) -> Callable[[object, Any, int | None], None]:
    """A whole number from `least` to `most`."""

    def check(_: object, attribute: Any, value: int | None) -> None:
        if value is not None and not least <= value <= most:
            raise ValueError(f"option '{attribute.name}' must be from {least} to {most}, got {value}")

    return check


def positive(_: object, attribute: Any, value: float | None) -> None:
    """A duration that is not nothing."""
    if value is not None and value <= 0:
        raise ValueError(f"option '{attribute.name}' must be longer than 0s")


def octets(most: int) -> Callable[[object, Any, str | None], None]:
    """A text that fits into a field of the wire."""

    def check(_: object, attribute: Any, value: str | None) -> None:
        if value is not None and len(value.encode()) > most:
            raise ValueError(f"option '{attribute.name}' has more than {most} octets")

    return check

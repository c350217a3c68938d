"""Validators of options whose value has bounds.

Public: `between`, `positive`, `octets`, `address`, `endpoint`, `split_endpoint`. None stands for an option that was not
given, and is always right. What can go wrong: ValueError, which the policy's
author sees with the option's path.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from kumotwist.config.option import WrongOption, option_name


def between(least: int, most: int) -> Callable[[object, Any, int | None], None]:
    """A whole number from `least` to `most`."""

    def check(_: object, attribute: Any, value: int | None) -> None:
        if value is not None and not least <= value <= most:
            raise WrongOption(option_name(attribute), f"must be from {least} to {most}, got {value}")

    return check


def positive(_: object, attribute: Any, value: float | None) -> None:
    """A duration that is not nothing."""
    if value is not None and value <= 0:
        raise WrongOption(option_name(attribute), "must be longer than 0s")


def octets(most: int) -> Callable[[object, Any, str | None], None]:
    """A text that fits into a field of the wire."""

    def check(_: object, attribute: Any, value: str | None) -> None:
        if value is not None and len(value.encode()) > most:
            raise WrongOption(option_name(attribute), f"has more than {most} octets")

    return check


def address(_: object, attribute: Any, value: str | None) -> None:
    """An IP address."""
    if value is None:
        return
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise WrongOption(option_name(attribute), f"must be an IP address, got '{value}'") from None


def endpoint(_: object, attribute: Any, value: str | None) -> None:
    """`host:port`, `[::1]:port` for IPv6."""
    if value is None:
        return
    try:
        split_endpoint(value)
    except ValueError:
        raise WrongOption(option_name(attribute), f"must be like '10.0.0.1:5000', got '{value}'") from None


def split_endpoint(value: str) -> tuple[str, int]:
    """Host, without brackets, and port of `host:port`. Raises ValueError."""
    host, _, port = value.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or (":" in bare) != host.startswith("[") or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("not an endpoint")
    return bare, int(port)

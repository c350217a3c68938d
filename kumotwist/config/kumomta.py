"""KumoMTA's option names that kumotwist does not have, so that an error can tell them from a slip of the pen.

Public: `unsupported`.
"""

from __future__ import annotations

from typing import Final

_UNSUPPORTED: Final[dict[str, frozenset[str]]] = {
    "SourceConfig": frozenset(
        (
            "ha_proxy_server",
            "ha_proxy_source_address",
            "suspend_when_proxy_unhealthy",
            "suspend_when_unplumbed",
        )
    ),
}


def unsupported(options_class: str) -> frozenset[str]:
    """Names that KumoMTA takes where `options_class` is read, and we do not."""
    return _UNSUPPORTED.get(options_class, frozenset())

"""KumoMTA's names that kumotwist does not have, so that an error can tell them from a slip of the pen.

Public: `unsupported` (options), `is_unsupported_path` (HTTP calls).
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
#: The paths that KumoMTA's documentation of `kumod` and of the TSA daemon lists; those below `/api/admin/`, and others.
_ADMIN: Final = """
    abort-ready-q-conn/v1 bounce/v1 bump-config-epoch inspect-message/v1 inspect-ready-q/v1 inspect-sched-q/v1
    memory/stats purge-lruttl-cache ready-q-states/v1 rebind/v1 resolve-egress-path/v1 set_diagnostic_log_filter/v1
    spool-compact/v1 suspend-ready-q/v1 suspend/v1 task-dump trace-smtp-client/v1 trace-smtp-server/v1
    xfer/cancel/v1 xfer/v1"""
_OTHERS: Final = (
    "/api/machine-info",
    "/api/xfer/inject/v1",
    "/rapidoc",
    "/get_config_v1/shaping.toml",
    "/publish_log_v1",
)
_PATHS: Final = frozenset((*_OTHERS, *(f"/api/admin/{call}" for call in _ADMIN.split())))


def unsupported(options_class: str) -> frozenset[str]:
    """Names that KumoMTA takes where `options_class` is read, and we do not."""
    return _UNSUPPORTED.get(options_class, frozenset())


def is_unsupported_path(path: str) -> bool:
    """Whether KumoMTA, or `kcli` on its behalf, has a use for this path of an HTTP listener, and we do not."""
    return path in _PATHS

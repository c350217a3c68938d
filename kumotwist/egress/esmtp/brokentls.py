"""Sites whose TLS failed lately, so that opportunistic sessions go on in clear text for a while.

Public: `BrokenTls`, `IMPLIED`.
"""

from __future__ import annotations

from typing import Final

from kumotwist.config.egress import PathConfig
from kumotwist.net.clock import Clock

#: Seconds that `opportunistic_tls_reconnect_on_failed_handshake` implies: KumoMTA's.
IMPLIED: Final = 900.0
#: Sites remembered: KumoMTA's.
MAX_SITES: Final = 65536


class BrokenTls:
    """The memory of one channel."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def remember(self, site: str, path: PathConfig) -> None:
        """Note a failed handshake, if the path wants that."""
        period = _period(path)
        if period is None:
            return
        self._until.pop(site, None)
        if len(self._until) >= MAX_SITES:
            del self._until[next(iter(self._until))]
        self._until[site] = self._clock.seconds() + period

    def has(self, site: str, path: PathConfig) -> bool:
        """Whether the site's TLS is taken for broken now."""
        if _period(path) is None:
            return False
        until = self._until.get(site)
        if until is None or until > self._clock.seconds():
            return until is not None
        del self._until[site]
        return False


def _period(path: PathConfig) -> float | None:
    if path.remember_broken_tls is not None:
        return path.remember_broken_tls
    return IMPLIED if path.opportunistic_tls_reconnect_on_failed_handshake else None

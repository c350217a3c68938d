"""Whence a request over HTTP came, for both APIs that make messages of it. Public: `Origin`, `origin_of`."""

from __future__ import annotations

from attrs import frozen

from kumotwist.core.connection import AuthInfo
from kumotwist.core.json import JsonObject
from kumotwist.core.outcome import Peer
from kumotwist.intake.http.auth import summary
from kumotwist.net.router import HttpRequest


@frozen
class Origin:
    """Whence a request came; `via` is our address, without port, or None when no connection was used.

    `hostname` is what the listener calls itself; None: as the machine does.
    """

    auth: AuthInfo
    via: str | None = None
    hostname: str | None = None

    @property
    def peer_address(self) -> str:
        """The client's address; our own for a request of the house itself."""
        return self.auth.peer_address or "127.0.0.1"

    @property
    def peer(self) -> Peer:
        """The client as records name it."""
        return Peer("", self.peer_address, "")

    def meta(self, hostname: str) -> JsonObject:
        """What the meta of its messages starts with."""
        meta: JsonObject = {
            "http_auth": summary(self.auth),
            "reception_protocol": "HTTP",
            "received_from": self.peer_address,
            "hostname": self.hostname or hostname,
        }
        if self.via is not None:
            meta["received_via"] = self.via
        return meta


def origin_of(request: HttpRequest) -> Origin:
    """Whence `request` came."""
    return Origin(request.auth, request.local_address.rpartition(":")[0].strip("[]"), request.hostname)

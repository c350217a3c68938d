"""From where a connection goes out: the address of an egress source, and the proxy in front of it.

Public: `connect`, `is_address`, `check_plumbed`. What can go wrong: an address that is not ours, or of
another family than the peer's, raises `OSError` or a Twisted ConnectError; a proxy that refuses,
ConnectionError; a password that cannot be had, SecretUnavailable.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Final, Generic, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as WireProtocol

from kumotwist.config.bounds import split_endpoint
from kumotwist.config.egress import SourceConfig
from kumotwist.core.interfaces import KeyLoader
from kumotwist.egress.services import Reactor
from kumotwist.net import socks5
from kumotwist.net.ending import why_ended
from kumotwist.proto.socks5 import SocksClient

P = TypeVar("P", bound=WireProtocol)
#: Let the kernel choose the local port.
_ANY_PORT: Final = 0


class _OneProtocol(Factory, Generic[P]):
    """Gives out the protocol that it was made with."""

    noisy = False

    def __init__(self, protocol: P) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> P:  # noqa: ARG002
        return self._protocol


class _Endpoint(Protocol[P]):
    """A Twisted client endpoint, as mypy can read it."""

    def connect(self, factory: _OneProtocol[P], /) -> Deferred[P]: ...


def is_address(host: str) -> bool:
    """Whether `host` is an IP address, to be connected to as it is."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def connect(
    reactor: Reactor, protocol: P, address: str, port: int, source: SourceConfig, timeout: float, keys: KeyLoader
) -> str | None:
    """Connect `protocol` to an IP address or the path of a Unix socket; may be cancelled.

    The `ip:port` that a proxy connects from, None when there is none.
    """
    if source.socks5_proxy_server is not None and not address.startswith("/"):
        return await _through_proxy(reactor, protocol, (address, port), source, timeout, keys)
    endpoint: _Endpoint[P] = _endpoint(reactor, address, port, source, timeout)
    try:
        await endpoint.connect(_OneProtocol(protocol))
    except ConnectingCancelledError:
        # So Twisted's endpoints tell of a cancellation; for callers it is no trouble of the peer's.
        raise CancelledError from None
    return None


async def _through_proxy(
    reactor: Reactor, protocol: P, peer: tuple[str, int], source: SourceConfig, timeout: float, keys: KeyLoader
) -> str:
    proxy = source.socks5_proxy_server
    assert proxy is not None  # by the caller
    login = None
    if source.socks5_proxy_username is not None and source.socks5_proxy_password is not None:
        password = await keys.load(source.socks5_proxy_password)
        login = (source.socks5_proxy_username.encode(), password.rstrip(b"\r\n"))
    client = SocksClient(*peer, source.socks5_proxy_source_address, login)
    if source.source_address is not None:
        check_plumbed(source.source_address)
    try:
        return await socks5.connect(reactor, protocol, split_endpoint(proxy), client, timeout, source.source_address)
    except (CancelledError, ConnectingCancelledError):
        raise CancelledError from None
    except Exception as error:  # Twisted's connect errors share no useful base
        raise ConnectionError(f"via SOCKS5 proxy server {proxy}: {why_ended(error, 'the proxy')}") from None


def _endpoint(reactor: Reactor, address: str, port: int, source: SourceConfig, timeout: float) -> Any:
    if address.startswith("/"):
        return UNIXClientEndpoint(reactor, address, timeout)
    local = source.source_address
    if local is not None and (":" in local) != (":" in address):
        raise OSError(f"source address {local} and {address} are of different families")
    if local is not None:
        check_plumbed(local)
    bind = None if local is None else (local, _ANY_PORT)
    kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
    return kind(reactor, address, port, timeout, bind)


def check_plumbed(address: str) -> None:
    """Raise OSError when `address` is not ours: Twisted would leave its socket to the garbage collector."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, _ANY_PORT))
        except OSError as error:
            raise OSError(f"source address {address}: {error.strerror}") from None

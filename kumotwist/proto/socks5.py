"""The client's side of SOCKS5 (RFC 1928), with name and password (RFC 1929), up to a connection that is open.

A proxy that is to send from one of its addresses is asked as KumoMTA's is:
BIND with that address first, then CONNECT over the same connection. A proxy
that only knows RFC 1928 refuses this, and connects from its own address when
none is asked for.

Public: `SocksClient`. What can go wrong: RemoteProtocolError, for a proxy that
refuses or does not speak SOCKS5.
"""

from __future__ import annotations

import ipaddress
from enum import Enum, auto
from typing import Final

from kumotwist.core.errors import ConfigError, RemoteProtocolError

_VERSION: Final = 5
_NO_LOGIN: Final = 0
_PASSWORD: Final = 2
_LOGIN_VERSION: Final = 1
_CONNECT: Final = 1
_BIND: Final = 2
_IPV4: Final = 1
_NAME: Final = 3
_IPV6: Final = 4
#: RFC 1929 s2: one octet tells how long a name or password is.
_MAX_LOGIN: Final = 255

#: RFC 1928 s6.
_REFUSALS: Final = {
    1: "general failure",
    2: "connection not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


class _Stage(Enum):
    """What the proxy is to answer next."""

    METHOD = auto()
    LOGIN = auto()
    BIND = auto()
    CONNECT = auto()
    DONE = auto()


class SocksClient:
    """One conversation: `start`, then `receive_data` until `is_done`; what came behind it is `rest`.

    `sent_from` is the `ip:port` that the proxy says it connects from, the port 0 when it keeps it to itself.
    """

    def __init__(
        self, host: str, port: int, source: str | None = None, login: tuple[bytes, bytes] | None = None
    ) -> None:
        """`host` and `source` are IP addresses. Raises ConfigError for a name or password that has no room."""
        if login is not None and not all(0 < len(word) <= _MAX_LOGIN for word in login):
            raise ConfigError(f"a SOCKS5 user name and password have 1 to {_MAX_LOGIN} octets")
        self._target = _address(host) + port.to_bytes(2, "big")
        self._source = source
        self._login = login
        self._stage = _Stage.METHOD
        self.rest = b""
        self.sent_from = _shown(source or "0.0.0.0", 0)

    @property
    def is_done(self) -> bool:
        """Whether the connection is open."""
        return self._stage is _Stage.DONE

    def start(self) -> bytes:
        """What is sent first."""
        methods = bytes((_PASSWORD,)) if self._login is not None else bytes((_NO_LOGIN,))
        return bytes((_VERSION, len(methods))) + methods

    def receive_data(self, data: bytes) -> bytes:
        """What is to be sent next, b"" when there is nothing. Raises RemoteProtocolError."""
        self.rest += data
        out = b""
        while not self.is_done:
            answer = self._answer()
            if answer is None:
                break
            out += answer
        return out

    def _answer(self) -> bytes | None:
        """What follows on the next whole reply; None when it is not whole."""
        if self._stage is _Stage.METHOD:
            return self._method()
        if self._stage is _Stage.LOGIN:
            return self._logged_in()
        return self._request_answered()

    def _method(self) -> bytes | None:
        if len(self.rest) < 2:
            return None
        version, method = self._cut(2)
        if version != _VERSION:
            raise RemoteProtocolError("it does not speak SOCKS5")
        if self._login is not None and method == _PASSWORD:
            self._stage = _Stage.LOGIN
            user, password = self._login
            return bytes((_LOGIN_VERSION, len(user))) + user + bytes((len(password),)) + password
        if self._login is None and method == _NO_LOGIN:
            return self._ask()
        raise RemoteProtocolError("it wants another way to log in")

    def _logged_in(self) -> bytes | None:
        if len(self.rest) < 2:
            return None
        if self._cut(2)[1] != 0:
            raise RemoteProtocolError("it does not take our user name and password")
        return self._ask()

    def _ask(self) -> bytes:
        if self._source is not None and self._stage is not _Stage.BIND:
            self._stage = _Stage.BIND
            return bytes((_VERSION, _BIND, 0)) + _address(self._source) + b"\0\0"
        self._stage = _Stage.CONNECT
        return bytes((_VERSION, _CONNECT, 0)) + self._target

    def _request_answered(self) -> bytes | None:
        size = self._reply_size()
        if size is None or len(self.rest) < size:
            return None
        reply = self._cut(size)
        if reply[1] != 0:
            raise RemoteProtocolError(f"{self._attempted()}: {_REFUSALS.get(reply[1], f'code {reply[1]}')}")
        if self._stage is _Stage.BIND:
            return self._ask()
        self._stage = _Stage.DONE
        self._note_bound(reply)
        return b""

    def _attempted(self) -> str:
        return "cannot connect" if self._stage is _Stage.CONNECT else f"cannot bind to {self._source}"

    def _reply_size(self) -> int | None:
        """How long the reply is; None while that is not known."""
        if len(self.rest) < 5:
            return None
        if self.rest[0] != _VERSION:
            raise RemoteProtocolError("it does not speak SOCKS5")
        sizes = {_IPV4: 10, _IPV6: 22, _NAME: 7 + self.rest[4]}
        if self.rest[3] not in sizes:
            raise RemoteProtocolError("its reply has an address of an unknown type")
        return sizes[self.rest[3]]

    def _note_bound(self, reply: bytes) -> None:
        if reply[3] == _NAME:
            return
        bound = ipaddress.ip_address(reply[4:-2])
        if not bound.is_unspecified:
            self.sent_from = _shown(str(bound), int.from_bytes(reply[-2:], "big"))

    def _cut(self, size: int) -> bytes:
        head, self.rest = self.rest[:size], self.rest[size:]
        return head


def _address(host: str) -> bytes:
    address = ipaddress.ip_address(host)
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

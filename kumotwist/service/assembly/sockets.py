"""The listening sockets that policy declares. Public: `Sockets`. What can go wrong: ConfigError."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from attrs import frozen

from kumotwist.config.listener import HttpListenerConfig
from kumotwist.lua.declare import Declarations
from kumotwist.service.house import House


@frozen(eq=False)
class Sockets:
    """By kind, in the order of their declaration."""

    smtp: Sequence[socket.socket]
    http: Sequence[socket.socket]

    @classmethod
    async def open(cls, house: House, declared: Declarations) -> Sockets:
        """All of them. Raises ConfigError."""
        smtp = [
            await house.listening_socket("smtp", number, config.listen)
            for number, config in enumerate(declared.esmtp_listeners)
        ]
        http = [
            await house.listening_socket(_scheme(config), number, config.listen)
            for number, config in enumerate(declared.http_listeners)
        ]
        return cls(smtp, http)


def _scheme(config: HttpListenerConfig) -> str:
    return "https" if config.use_tls else "http"

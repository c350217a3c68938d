"""Ports of 127.0.0.1 for peers that come later, or never.

Public: `unused_port`.
"""

from __future__ import annotations

import socket

_reserved: list[socket.socket] = []


def unused_port() -> int:
    """A port that nobody listens on: connections are refused until the peer that it is for binds it.

    It stays bound here until this process ends, without listening. Else the kernel could give it to another test's
    peer, which would then hear the retries that were meant for ours. A server binds it all the same, as it sets
    SO_REUSEADDR, too.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    _reserved.append(sock)
    return int(sock.getsockname()[1])

"""The output of an SMTP session: replies to pipelined commands leave in one write.

On a plain socket they are written at once, which saves a turn of the reactor.
A peer that does not take them, or one that speaks TLS, gets the reactor's
buffering from then on, in order.

Public: `Output`. What can go wrong: nothing here; that the peer is gone, the reactor finds out by itself.
"""

from __future__ import annotations

from kumotwist.intake.smtp.wire import Wire


class Output:
    """What is to be written to a transport."""

    __slots__ = ("_replies", "_wire", "writes_at_once")

    def __init__(self, wire: Wire, *, writes_at_once: bool) -> None:
        """`writes_at_once`: the transport has a socket of its own, and nothing else writes to it."""
        self._wire = wire
        self._replies: list[bytes] = []
        self.writes_at_once = writes_at_once

    def put(self, reply: bytes) -> None:
        """Have a reply leave with the next `flush`, behind the others."""
        self._replies.append(reply)

    def flush(self) -> None:
        """Write what is collected."""
        replies = self._replies
        if not replies:
            return
        data = replies[0] if len(replies) == 1 else b"".join(replies)
        replies.clear()
        if self.writes_at_once:
            try:
                sent = self._wire.socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return
            if sent == len(data):
                return
            self.writes_at_once = False
            data = data[sent:]
        self._wire.write(data)

"""The ESMTP and LMTP client as a wire core: bytes in, bytes out, no socket and no clock.

`egress.esmtp` owns the socket. It starts one `Exchange` at a time, writes what
`start` and `receive_data` give it and looks at the exchange when that is done.

Public: `ClientSession`. A peer that breaks the protocol raises
`RemoteProtocolError`, our own misuse `LocalProtocolError`; the session is
unusable after either.
"""

from __future__ import annotations

from collections.abc import Sequence

from kumotwist.core.errors import LocalProtocolError, RemoteProtocolError
from kumotwist.proto.smtp import client_capabilities
from kumotwist.proto.smtp.client_capabilities import Capabilities
from kumotwist.proto.smtp.client_commands import Exchange, Step
from kumotwist.proto.smtp.client_replies import Reply, ReplyParser


class ClientSession:
    """The state of one connection.

    `capabilities` are those of the last EHLO. `farewell` is an unasked-for
    reply, as a 421 on an idle connection; nothing can be started after it.
    """

    __slots__ = ("_exchange", "_parser", "capabilities", "farewell", "is_usable")

    def __init__(self) -> None:
        self.capabilities: Capabilities = client_capabilities.NONE
        self.farewell: Reply | None = None
        self.is_usable = True
        self._parser = ReplyParser()
        self._exchange: Exchange | None = None

    def start(self, exchange: Exchange) -> bytes:
        """Begin `exchange`; what to write."""
        if self._exchange is not None or not self.is_usable:
            raise LocalProtocolError("an exchange is running, or the session has ended")
        if self._parser.is_midway:
            self.is_usable = False
            raise RemoteProtocolError("Malformed Response: the peer speaks out of turn")
        self._exchange = exchange
        return exchange.opening()

    def receive_data(self, data: bytes) -> Sequence[bytes]:
        """Take what the peer sent; what to write now, in order. Raises RemoteProtocolError."""
        out: Sequence[bytes] = ()
        try:
            replies = self._parser.feed(data)
            last = len(replies) - 1
            for position, reply in enumerate(replies):
                exchange = self._exchange
                if exchange is None:
                    self._take_unasked(reply)
                    continue
                out = exchange.on_reply(reply)
                if out and (position != last or self._parser.is_midway):
                    # A reply to what we have not sent yet must not count as one.
                    raise RemoteProtocolError("Malformed Response: the peer answers before it is asked")
                if exchange.is_done and self._finish(exchange, reply):
                    return ()
            if self._parser.problem is not None:
                raise self._parser.problem
        except RemoteProtocolError:
            self.is_usable = False
            raise
        return out

    def tls_started(self) -> None:
        """TLS is up: nothing known from before counts (RFC 3207 s4.2)."""
        self._parser.reset()
        self.capabilities = client_capabilities.NONE

    def _finish(self, exchange: Exchange, reply: Reply) -> bool:
        """Close the books on `exchange`; whether the rest of what came is dropped."""
        self._exchange = None
        if exchange.is_broken:
            self.is_usable = False
        if exchange.step is Step.EHLO and reply.code == 250:
            self.capabilities = Capabilities.parse(reply.text)
        if exchange.step is Step.STARTTLS and reply.code == 220:
            # Sent in clear behind the 220 by whoever sits in between (CVE-2011-0411 and its siblings).
            self._parser.reset()
            return True
        return not self.is_usable

    def _take_unasked(self, reply: Reply) -> None:
        if reply.code != 421:
            raise RemoteProtocolError(f"Malformed Response: {reply.code} without a command")
        self.farewell = reply
        self.is_usable = False

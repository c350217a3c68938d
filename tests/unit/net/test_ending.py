"""How a connection ended, as operators read it: real failures of the reactor, of OpenSSL and of the kernel."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from service_identity import VerificationError
from support.webpeer import authority
from twisted.internet import defer, error, reactor, ssl
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol
from twisted.names.error import DNSFormatError
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from kumotwist.net.ending import in_words, why_ended, why_no_tls

LOOP: Any = reactor


class Ending(Protocol):
    """Notes with what its connection ends."""

    def __init__(self) -> None:
        self.ended: defer.Deferred[BaseException] = defer.Deferred()

    def connectionMade(self) -> None:
        self.transport.write(b"x")

    def connectionLost(self, reason: Failure = Failure(error.ConnectionDone())) -> None:  # noqa: B008
        self.ended.callback(reason.value)


class Peer(Protocol):
    """Does one thing as soon as somebody is there, or has said something."""

    def __init__(self, act: Any, is_polite: bool) -> None:
        self.act, self.is_polite = act, is_polite

    def connectionMade(self) -> None:
        if not self.is_polite:
            self.act(self.transport)

    def dataReceived(self, data: bytes) -> None:
        if self.is_polite:
            self.act(self.transport)


async def ending(act: Any, tls: Any = None, is_polite: bool = False, server_tls: Any = None) -> BaseException:
    """How a connection ends to a peer that does `act` with its transport."""
    factory = Factory.forProtocol(lambda: Peer(act, is_polite))
    port = (
        LOOP.listenSSL(0, factory, server_tls, interface="127.0.0.1")
        if server_tls is not None
        else LOOP.listenTCP(0, factory, interface="127.0.0.1")
    )
    endpoint: Any = TCP4ClientEndpoint(LOOP, "127.0.0.1", port.getHost().port)
    if tls is not None:
        endpoint = wrapClientTLS(tls, endpoint)
    try:
        client = await endpoint.connect(Factory.forProtocol(Ending))
        return await client.ended
    finally:
        await defer.maybeDeferred(port.stopListening)


def reset(transport: Any) -> None:
    transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abortConnection()


def hang_up(transport: Any) -> None:
    transport.loseConnection()


@pytest_twisted.ensureDeferred
async def test_the_peer_closes() -> None:
    """An orderly end names who made it; a channel may call its peer by another name."""
    found = await ending(hang_up)
    assert why_ended(found) == "the peer closed the connection"
    assert why_ended(Failure(found), "the SMSC") == "the SMSC closed the connection"


@pytest_twisted.ensureDeferred
async def test_a_reset() -> None:
    """Twisted tells a reset from other losses no more, so neither do we."""
    assert why_ended(await ending(reset)) == "the connection was reset or lost"


@pytest_twisted.ensureDeferred
async def test_nobody_listens() -> None:
    """The word that everybody looks for, without number and class."""
    port = LOOP.listenTCP(0, Factory(), interface="127.0.0.1")
    number = port.getHost().port
    await defer.maybeDeferred(port.stopListening)
    with pytest.raises(error.ConnectionRefusedError) as caught:
        await TCP4ClientEndpoint(LOOP, "127.0.0.1", number).connect(Factory.forProtocol(Ending))
    assert why_ended(caught.value) == "connection refused"


@pytest_twisted.ensureDeferred
async def test_tls_with_a_peer_that_speaks_none() -> None:
    """OpenSSL's "wrong version number" means that there is no TLS at all."""
    found = await ending(lambda transport: transport.write(b"220 mx.example ESMTP\r\n"), ssl.CertificateOptions())
    assert why_ended(found, "the SMSC") == "TLS failed: the SMSC does not speak TLS here (wrong version number)"
    assert why_no_tls(found) == "the peer does not speak TLS here (wrong version number)"


@pytest_twisted.ensureDeferred
async def test_tls_with_a_certificate_that_nobody_vouches_for() -> None:
    """OpenSSL's reason is there, its routines and numbers are not."""
    _, server = authority("127.0.0.1")
    found = await ending(hang_up, ssl.optionsForClientTLS("127.0.0.1"), True, server)
    assert why_ended(found) == "TLS failed: certificate verify failed"


@pytest.mark.parametrize("act", [hang_up, reset])
@pytest_twisted.ensureDeferred
async def test_tls_with_a_peer_that_goes(act: Any) -> None:
    """A connection that ends in the handshake, in an orderly way or not, is told as that."""
    found = await ending(act, ssl.CertificateOptions(), True)
    assert why_no_tls(found) in (
        "the peer ended the connection in the handshake",
        "the connection was reset or lost",
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ECONNREFUSED, "connection refused"),
        (errno.ETIMEDOUT, "no answer in time"),
        (errno.EHOSTUNREACH, "no route to host"),
        (errno.ENETUNREACH, "network is unreachable"),
        (errno.EMFILE, "too many open files"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "input/output error"),
    ],
)
def test_what_the_kernel_says(number: int, text: str) -> None:
    """The system's own words, whether Twisted or Python wraps them."""
    said = OSError(number, os.strerror(number))
    assert why_ended(error.getConnectError(said)) == text
    assert why_ended(said) == text


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (error.TimeoutError(), "no answer in time"),
        (defer.TimeoutError(), "no answer in time"),
        (error.DNSLookupError("no results for hostname lookup: nohost"), "its name was not found"),
        (error.DNSLookupError("nohost has no address"), "nohost has no address"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "its name was not found"),
        (
            error.getConnectError(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")),
            "its name cannot be looked up now",
        ),
        (
            error.ConnectBindError(errno.EADDRNOTAVAIL, "Cannot assign requested address"),
            "cannot connect from the source address: cannot assign requested address",
        ),
        (error.ConnectionAborted(), "given up by us"),
        (error.ConnectingCancelledError("127.0.0.1"), "given up by us"),
        (VerificationError(errors=()), "TLS failed: the certificate is for another name"),
        (SSL.Error(), "TLS failed: the peer ended the connection in the handshake"),
        (SSL.SysCallError(-1, "Unexpected EOF"), "TLS failed: the peer ended the connection in the handshake"),
        (OSError("source address ::1 and 127.0.0.1 are of different families"), "source address ::1 and 127.0.0.1 are"),
    ],
)
def test_what_else_there_is(problem: BaseException, text: str) -> None:
    """Time-outs, names that lead nowhere, certificates, and what we gave up ourselves."""
    assert why_ended(problem).startswith(text)
    assert why_ended(Failure(problem)).startswith(text)


@pytest.mark.parametrize(
    "kind",
    sorted(
        {
            one
            for one in vars(error).values()
            if isinstance(one, type) and issubclass(one, (error.ConnectError, error.ConnectionClosed))
        },
        key=lambda one: one.__name__,
    ),
)
def test_no_class_is_named(kind: type[Exception]) -> None:
    """Whatever ends a connection in Twisted, its class and its sentences about itself stay out of the text."""
    problem = kind(0) if issubclass(kind, (error.ProcessTerminated, error.ProcessDone)) else kind()
    text = why_ended(problem)
    assert text
    assert not re.search(r"[a-z][A-Z]|Twisted|non-clean|User|\.$", text), text


def test_an_error_without_words() -> None:
    """An error that says nothing of itself is told by the words of its class; of many lines the first is told."""
    assert in_words(DNSFormatError()) == "dns format error"
    assert in_words(ValueError("one.\ntwo")) == "one"
    assert in_words(ResponseFailed([])) != ""

"""A web server for tests of HTTP clients: real twisted.web on loopback, answers by path, requests kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import trustme
from attrs import define, field, frozen
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import Certificate
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer


@frozen
class Seen:
    """A request as it came."""

    method: str
    uri: str
    headers: dict[str, list[str]]
    body: bytes
    client: tuple[str, int]

    def header(self, name: str) -> str | None:
        """The first value, None without it."""
        return next(iter(self.headers.get(name.lower(), ())), None)


Answer = Callable[[Request], bytes | None]


class _Root(Resource):
    isLeaf = True

    def __init__(self, peer: WebPeer) -> None:
        super().__init__()
        self._peer = peer

    def render(self, request: Request) -> bytes | int:
        headers = {
            name.decode("latin-1").lower(): [value.decode("latin-1") for value in values]
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        client = request.getClientAddress()
        body = request.content.read()
        self._peer.seen.append(
            Seen(request.method.decode(), request.uri.decode(), headers, body, (client.host, client.port))
        )
        answer = self._peer.answers.get(request.path.decode())
        if answer is None:
            request.setResponseCode(404)
            return b"nothing here"
        result = answer(request)
        return NOT_DONE_YET if result is None else result


@define(eq=False)
class WebPeer:
    """`answers` by path: a function of the request that returns the body, or None to leave it open."""

    url: str = ""
    answers: dict[str, Answer] = field(factory=dict)
    seen: list[Seen] = field(factory=list)

    def answer(self, path: str, code: int = 200, body: bytes = b"", **headers: str) -> None:
        """Answer `path` always alike; `_` in header names stands for `-`."""

        def fixed(request: Request) -> bytes:
            request.setResponseCode(code)
            for name, value in headers.items():
                request.setHeader(name.replace("_", "-"), value)
            return body

        self.answers[path] = fixed


@asynccontextmanager
async def web_peer(tls: ServerTls | None = None, host: str = "127.0.0.1") -> AsyncIterator[WebPeer]:
    """A server for the length of a block; with `tls` it speaks https."""
    peer = WebPeer()
    site = Site(_Root(peer))
    listen = partial(reactor.listenSSL, contextFactory=tls) if tls else reactor.listenTCP
    port = listen(0, site, interface="127.0.0.1")
    peer.url = f"{'https' if tls else 'http'}://{host}:{port.getHost().port}"
    try:
        yield peer
    finally:
        await port.stopListening()
        await turn()


async def turn(seconds: float = 0.0) -> None:
    """Let the reactor run."""
    pause: Deferred[None] = Deferred()
    reactor.callLater(seconds, pause.callback, None)
    await pause


@implementer(IOpenSSLContextFactory)
class ServerTls:
    """A context factory over one pyOpenSSL context."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def getContext(self) -> SSL.Context:
        return self._context


def authority(*names: str) -> tuple[Certificate, ServerTls]:
    """A fresh certificate authority, and TLS for a server with a certificate of it for `names`."""
    ca = trustme.CA()
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    ca.issue_cert(*names).configure_cert(context)
    return Certificate.loadPEM(ca.cert_pem.bytes()), ServerTls(context)

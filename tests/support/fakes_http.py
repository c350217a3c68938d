"""An HTTP listener on loopback for tests, with doubles behind it, and a client that sends exactly what it is told."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from support.api_contract import Contract
from support.fakes_intake import FakeAuditor, FakeGate, FakeQueue, FakeRecorder, FakeStore
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol

from kumotwist.admin import liveness, metrics
from kumotwist.admin.openapi import with_document
from kumotwist.config.acl import AccessControlList
from kumotwist.config.listener import HttpListenerConfig
from kumotwist.core.connection import AuthInfo
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.intake.admission import Admission
from kumotwist.intake.http.site import build_site
from kumotwist.intake.inject.injection import Injection
from kumotwist.intake.inject.route import inject_route
from kumotwist.intake.send.route import send_route
from kumotwist.intake.send.sending import Sending
from kumotwist.net.router import Route
from kumotwist.service.diskspace import DiskSpace

HOSTNAME = "mx.example.com"


@define(eq=False)
class FakeHttpPolicy:
    """Runs Python callables in the place of Lua handlers; `calls` counts them by event."""

    handlers: dict[str, Callable[..., Any]] = field(factory=dict)
    calls: list[tuple[Any, ...]] = field(factory=list)

    async def _run(self, event: str, *args: Any) -> Any:
        self.calls.append((event, *args))
        handler = self.handlers.get(event)
        result = handler(*args) if handler is not None else None
        return await result if hasattr(result, "__await__") else result

    async def http_server_validate_auth_basic(self, user: str, password: str | None) -> AuthInfo | bool:
        return await self._run("http_server_validate_auth_basic", user, password) or False

    async def http_message_generated(self, message: Message, auth: AuthInfo) -> None:
        await self._run("http_message_generated", message, auth)

    async def get_acl_definition(self, resource: str) -> AccessControlList | None:
        return await self._run("get_acl_definition", resource)


@define(eq=False)
class House:
    """Everything behind a listener; `keys` only for requests with an idempotency key."""

    policy: FakeHttpPolicy = field(factory=FakeHttpPolicy)
    store: FakeStore = field(factory=FakeStore)
    recorder: FakeRecorder = field(factory=FakeRecorder)
    queue: FakeQueue = field(factory=FakeQueue)
    gate: FakeGate = field(factory=FakeGate)
    auditor: FakeAuditor = field(factory=FakeAuditor)
    clock: Any = reactor
    can_defer: bool = False
    keys: Any = None
    injection: Injection = field(init=False)
    sending: Sending = field(init=False)

    def __attrs_post_init__(self) -> None:
        admission = Admission(self.store, self.recorder, self.queue, self.clock, DiskSpace())
        ids = IdGenerator(self.clock.seconds)
        self.injection = Injection(self.policy, admission, self.gate, ids, self.clock, HOSTNAME, self.can_defer)
        self.sending = Sending(self.policy, admission, self.gate, ids, self.clock, HOSTNAME)

    def site(self, **options: Any) -> Any:
        """The listener's factory."""
        config = HttpListenerConfig(**options)
        return build_site(config, self.policy, self.clock, self.routes(config), auditor=self.auditor)

    def routes(self, config: HttpListenerConfig) -> Sequence[Route]:
        """All that the listener serves."""
        return with_document(
            (
                inject_route(self.injection),
                send_route(self.sending, self.keys, config.default_region),
                *liveness.routes(self.gate),
                *metrics.routes(_prometheus, _json),
            )
        )


async def _prometheus() -> bytes:
    return b"# HELP up\nup 1\n" * 200


async def _json() -> bytes:
    return b"{}"


@define
class Answer:
    """One reply as a client saw it."""

    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class RawClient(Protocol):
    """Sends bytes; takes replies apart by their Content-Length."""

    def __init__(self) -> None:
        self.data = b""
        self.has_bodies = True
        self.closed: Deferred[None] = Deferred()
        self._waiting: list[Deferred[Answer]] = []

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        while self._waiting and (answer := self._parse()) is not None:
            self._waiting.pop(0).callback(answer)

    def connectionLost(self, reason: Any = None) -> None:
        self.closed.callback(None)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.errback(ConnectionError(f"closed after {self.data[:200]!r}"))

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def next(self) -> Deferred[Answer]:
        """The next reply."""
        waiting: Deferred[Answer] = Deferred()
        answer = self._parse()
        if answer is not None:
            waiting.callback(answer)
        else:
            self._waiting.append(waiting)
        return waiting

    def _parse(self) -> Answer | None:
        while self.data.startswith(b"HTTP/1.1 100"):
            self.data = self.data.partition(b"\r\n\r\n")[2]
        head, found, rest = self.data.partition(b"\r\n\r\n")
        if not found:
            return None
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        length = int(headers.get("content-length", "0")) if self.has_bodies else 0
        if len(rest) < length:
            return None
        self.data = rest[length:]
        body = rest[:length]
        if body and headers.get("content-encoding") == "gzip":
            body = zlib.decompress(body, 31)
        return Answer(int(lines[0].split()[1]), headers, body)


@define(eq=False)
class Peer:
    """A listening site and its clients; every reply to `request` must be one that the document announces."""

    port: Any
    site: Any
    contract: Contract | None = None
    clients: list[RawClient] = field(factory=list)
    tls: Any = None

    async def connect(self) -> RawClient:
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        if self.tls is not None:
            endpoint = wrapClientTLS(self.tls, endpoint)
        client = await connectProtocol(endpoint, RawClient())
        self.clients.append(client)
        return client

    async def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """One request on a connection of its own; `_` in a header's name stands for `-`."""
        client = await self.connect()
        client.has_bodies = method != "HEAD"
        client.send(encode(method, path, body, **headers))
        answer = await client.next()
        if self.contract is not None:
            self.contract.check(method, path, answer.code, answer.headers.get("content-type", ""), answer.body)
        return answer

    async def inject(self, request: Any, **headers: str) -> Answer:
        """POST to the injection API."""
        return await self.post("/api/inject/v1", request, **headers)

    async def send(self, request: Any, **headers: str) -> Answer:
        """POST to the send API."""
        return await self.post("/api/send/v1", request, **headers)

    async def post(self, path: str, request: Any, **headers: str) -> Answer:
        """POST JSON, or octets as they are."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        headers.setdefault("content_type", "application/json")
        return await self.request("POST", path, body, **headers)

    async def close_gently(self) -> None:
        """As the daemon does at shutdown: no new connections, and the old ones may finish."""
        await self.port.stopListening()
        await self.site.close()

    async def close(self) -> None:
        await self.port.stopListening()
        for client in self.clients:
            client.transport.abortConnection()
        await self.site.close()


def encode(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as octets."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def listen(house: House, **options: Any) -> Peer:
    """Serve `house` on a free port of loopback."""
    site = house.site(**options)
    contract = Contract(house.routes(HttpListenerConfig(**options)))
    return Peer(reactor.listenTCP(0, site, interface="127.0.0.1"), site, contract)


def simple(content: Any = "Subject: hello\n\nHello there", **more: Any) -> dict[str, Any]:
    """A request for one recipient."""
    return {"envelope_sender": "s@example.com", "recipients": [{"email": "r@example.net"}], "content": content, **more}


def bodies(house: House) -> Sequence[bytes]:
    """The messages that reached the queue."""
    return [message.body for message in house.queue.messages]

"""The HTTP client against a real web server on loopback."""

from contextlib import asynccontextmanager

import pytest
from pytest_twisted import ensureDeferred
from support.webpeer import authority, turn, web_peer
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol

from kumotwist.net.http import HttpError, HttpRequest, HttpSettings, HttpTransports, clean_header, clean_url


@asynccontextmanager
async def http_client(trust_root=None, **settings):
    transports = HttpTransports(reactor, trust_root)
    try:
        yield transports.client(HttpSettings(**settings))
    finally:
        await transports.close()
        await turn()


@asynccontextmanager
async def raw_peer(reply):
    """A server that says `reply` whatever it is asked, and then closes."""

    class Raw(Protocol):
        def dataReceived(self, data):
            self.transport.write(reply)
            self.transport.loseConnection()

    port = reactor.listenTCP(0, Factory.forProtocol(Raw), interface="127.0.0.1")
    try:
        yield f"http://127.0.0.1:{port.getHost().port}/"
    finally:
        await port.stopListening()
        await turn()


def get(url, *headers):
    return HttpRequest(b"GET", url, headers)


@ensureDeferred
async def test_a_request_arrives_as_it_was_made():
    """Method, path, query, headers (repeated ones too) and body reach the server; the reply comes back whole."""
    async with web_peer() as peer, http_client(user_agent="policy/1") as client:
        peer.answer("/v3/mail/send", 202, b"accepted", X_Message_Id="abc")
        headers = [(b"Content-Type", b"text/plain"), (b"X-Tag", b"a"), (b"X-Tag", b"b")]
        response = await client.send(HttpRequest(b"POST", peer.url + "/v3/mail/send?x=1", headers, b"\x00body\xff"))
        assert (response.code, response.reason, response.body) == (202, "Accepted", b"accepted")
        assert response.header("x-message-id") == "abc"
        (seen,) = peer.seen
        assert (seen.method, seen.uri, seen.body) == ("POST", "/v3/mail/send?x=1", b"\x00body\xff")
        assert seen.headers["x-tag"] == ["a", "b"]
        assert seen.header("user-agent") == "policy/1"
        assert seen.header("content-length") == "6"


@ensureDeferred
async def test_a_post_without_a_body_says_so():
    """Servers that insist on a length are content."""
    async with web_peer() as peer, http_client() as client:
        peer.answer("/", 200)
        await client.send(HttpRequest(b"POST", peer.url + "/"))
        assert peer.seen[0].header("content-length") == "0"


@ensureDeferred
async def test_connections_are_reused():
    """Ten requests in a row go over one connection; two at once over two."""
    async with web_peer() as peer, http_client() as client:
        peer.answer("/", 200, b"ok")
        for _ in range(10):
            await client.send(get(peer.url + "/"))
        assert len({seen.client for seen in peer.seen}) == 1
        await gatherResults([Deferred.fromCoroutine(client.send(get(peer.url + "/"))) for _ in range(2)])
        assert len({seen.client for seen in peer.seen}) == 2


@ensureDeferred
@pytest.mark.parametrize(
    ("head", "connections"),
    [
        (b"HTTP/1.1 200 OK\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", 2),
        (b"HTTP/1.0 200 OK\r\n", 2),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", 1),
    ],
)
async def test_a_connection_that_the_server_will_close_is_not_used_again(head, connections):
    """Else the next request fails, and nobody knows whether it was taken."""
    made = []

    class Brief(Protocol):
        def connectionMade(self):
            made.append(self)

        def dataReceived(self, data):
            self.transport.write(head + b"Content-Length: 2\r\n\r\nok")

    port = reactor.listenTCP(0, Factory.forProtocol(Brief), interface="127.0.0.1")
    async with http_client() as client:
        for _ in range(2):
            assert (await client.send(get(f"http://127.0.0.1:{port.getHost().port}/"))).body == b"ok"
            await turn()
        assert len(made) == connections
    for one in made:
        one.transport.abortConnection()
    await port.stopListening()
    await turn()


@ensureDeferred
async def test_clients_of_one_kind_share_connections():
    """A policy that builds a client per message does not open a connection per message."""
    transports = HttpTransports(reactor)
    async with web_peer() as peer:
        peer.answer("/", 200, b"ok")
        for number in range(5):
            await transports.client(HttpSettings(timeout=10.0 + number)).send(get(peer.url + "/"))
        assert len({seen.client for seen in peer.seen}) == 1
        await transports.close()


@ensureDeferred
async def test_an_unknown_status_is_a_reply():
    """A code without a registered phrase is given to policy, not refused."""
    async with web_peer() as peer, http_client() as client:
        peer.answer("/", 420, b"enhance your calm")
        response = await client.send(get(peer.url + "/"))
        assert (response.code, response.reason) == (420, None)


@pytest.mark.parametrize("when", ["before the reply", "within the body"])
@ensureDeferred
async def test_a_server_that_stalls_is_given_up(when):
    """The time-out covers the whole exchange, and names the request without its query."""
    async with web_peer() as peer, http_client(timeout=0.05) as client:

        def stall(request):
            if when == "within the body":
                request.setHeader("content-length", "10")
                request.write(b"half")

        peer.answers["/"] = stall
        with pytest.raises(HttpError, match=r"GET http://127\.0\.0\.1:\d+/: no reply within 0\.05 s"):
            await client.send(get(peer.url + "/?key=s3cret"))


@ensureDeferred
async def test_the_timeout_of_a_request_wins():
    """A request may have a time-out of its own."""
    async with web_peer() as peer, http_client() as client:
        peer.answers["/"] = lambda request: None
        with pytest.raises(HttpError, match="within"):
            await client.send(get(peer.url + "/"), timeout=0.02)


@ensureDeferred
async def test_a_cancelled_request_is_cancelled():
    """A handler that is stopped takes its request with it, as a cancellation and not as a time-out."""
    async with web_peer() as peer, http_client() as client:
        peer.answers["/"] = lambda request: None
        work = Deferred.fromCoroutine(client.send(get(peer.url + "/")))
        await turn(0.02)
        work.cancel()
        with pytest.raises(CancelledError):
            await work


@ensureDeferred
async def test_credentials_in_the_url_become_basic_auth():
    """`https://user:password@host/` works as in other clients."""
    async with web_peer() as peer, http_client() as client:
        peer.answer("/", 200)
        await client.send(get(peer.url.replace("//", "//api:k%40y@") + "/"))
        assert peer.seen[0].header("authorization") == "Basic YXBpOmtAeQ=="


@ensureDeferred
async def test_nobody_listens():
    """A refused connection is told as such, without credentials."""
    async with http_client() as client:
        with pytest.raises(HttpError, match=r"GET http://127\.0\.0\.1:1/x: cannot connect: .*refused") as caught:
            await client.send(get("http://user:hunter2@127.0.0.1:1/x?token=s3cret"))
    assert "hunter2" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (b"", "the peer closed the connection before the reply was complete"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            "the peer closed the connection before the reply was complete",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha", "before the reply was complete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nha", "the reply is not HTTP"),
        (b"what is this?\r\n\r\n", "the reply is not HTTP"),
        (b"HTTP/1.1 fine OK\r\n\r\n", "the reply is not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the reply is not HTTP"),
    ],
)
@ensureDeferred
async def test_a_server_that_lies_is_an_error(reply, text):
    """A reply that is cut short or is no HTTP never passes for a whole one."""
    async with raw_peer(reply) as url, http_client() as client:
        with pytest.raises(HttpError, match=text) as caught:
            await client.send(get(url))
    assert str(caught.value).endswith(text)


@ensureDeferred
async def test_a_body_without_length_ends_with_the_connection():
    """HTTP/1.0 style replies are whole when the server closes."""
    async with raw_peer(b"HTTP/1.0 200 OK\r\n\r\nall of it") as url, http_client() as client:
        assert (await client.send(get(url))).body == b"all of it"


@ensureDeferred
async def test_a_reply_that_is_too_large_is_dropped():
    """A server cannot fill our memory."""
    async with web_peer() as peer, http_client(max_response=1000) as client:
        peer.answer("/", 200, b"x" * 1000)
        peer.answer("/more", 200, b"x" * 1001)
        assert len((await client.send(get(peer.url + "/"))).body) == 1000
        with pytest.raises(HttpError, match="larger than 1000 octets"):
            await client.send(get(peer.url + "/more"))


# -- redirects -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "method", "body"),
    [(301, "GET", b""), (302, "GET", b""), (303, "GET", b""), (307, "POST", b"data"), (308, "POST", b"data")],
)
@ensureDeferred
async def test_redirects_are_followed(code, method, body):
    """307 and 308 repeat the request with its body, the others fetch the new place."""
    async with web_peer() as peer, http_client() as client:
        peer.answer("/old", code, Location="/new?x=1")
        peer.answer("/new", 200, b"here")
        headers = [(b"Content-Type", b"text/plain"), (b"Authorization", b"Bearer t")]
        response = await client.send(HttpRequest(b"POST", peer.url + "/old", headers, b"data"))
        assert response.body == b"here"
        last = peer.seen[-1]
        assert (last.method, last.uri, last.body) == (method, "/new?x=1", body)
        assert last.header("authorization") == "Bearer t"
        assert (last.header("content-type") is None) == (method == "GET")


@ensureDeferred
async def test_credentials_stay_with_their_host():
    """A redirect to another server does not take the API key there."""
    async with web_peer() as peer, web_peer() as other, http_client() as client:
        peer.answer("/", 307, Location=other.url + "/")
        other.answer("/", 200)
        await client.send(get(peer.url + "/", (b"Authorization", b"Bearer t"), (b"X-Other", b"kept")))
        assert other.seen[0].header("authorization") is None
        assert other.seen[0].header("x-other") == "kept"


@ensureDeferred
async def test_a_circle_of_redirects_ends():
    """After ten redirects it is an error."""
    async with web_peer() as peer, http_client() as client:
        peer.answer("/", 302, Location="/")
        with pytest.raises(HttpError, match="more than 10 redirects"):
            await client.send(get(peer.url + "/"))
        assert len(peer.seen) == 11


@ensureDeferred
async def test_a_redirect_elsewhere_than_http_is_refused():
    """A server cannot make us open files."""
    async with web_peer() as peer, http_client() as client:
        peer.answer("/", 302, Location="file:///etc/passwd")
        with pytest.raises(HttpError, match="not an http or https URL"):
            await client.send(get(peer.url + "/"))


@asynccontextmanager
async def endless_peer(first, more):
    """A server that says `first`, and then `more` for as long as anybody listens."""

    class Endless(Protocol):
        def dataReceived(self, data):
            self.transport.write(first)
            self.transport.registerProducer(self, streaming=False)

        def resumeProducing(self):
            self.transport.write(more * 1000)

        def stopProducing(self):
            """Nobody listens any more."""

    port = reactor.listenTCP(0, Factory.forProtocol(Endless), interface="127.0.0.1")
    try:
        yield f"http://127.0.0.1:{port.getHost().port}/"
    finally:
        await port.stopListening()
        await turn()


HINT = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "more"), [(b"HTTP/1.1 200 OK\r\n", b"X-More: of the same\r\n"), (HINT, HINT)], ids=["headers", "replies"]
)
@ensureDeferred
async def test_a_reply_whose_headers_never_end_is_dropped(first, more):
    """Whoever names a webhook's URL cannot fill our memory with headers, nor with replies before the reply."""
    async with endless_peer(first, more) as url, http_client(timeout=30.0) as client:
        with pytest.raises(HttpError, match="the head of the reply is larger than 262144 octets"):
            await client.send(HttpRequest(b"POST", url, (), b"body"))


@ensureDeferred
async def test_a_long_head_is_a_head():
    """What browsers take is taken, once after the other over one connection."""
    async with web_peer() as peer, http_client() as client:
        peer.answer("/", 200, b"x" * 1_000_000, **{f"X_{number}": "y" * 8_000 for number in range(20)})
        for _ in range(2):
            reply = await client.send(get(peer.url + "/"))
            assert (len(reply.body), len(reply.header("x-19"))) == (1_000_000, 8_000)
        assert len({seen.client for seen in peer.seen}) == 1


# -- What may have been sent ---------------------------------------------------------------------------


@asynccontextmanager
async def mute_peer():
    """A server that takes connections and never says a word."""
    port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
    try:
        yield f"127.0.0.1:{port.getHost().port}/"
    finally:
        await port.stopListening()
        await turn()


@pytest.mark.parametrize("body", [None, b"body"])
@ensureDeferred
async def test_nothing_was_sent_before_the_peer_has_proven_who_it_is(body):
    """A certificate that is refused and a handshake that never ends leave no doubt: nobody has our request."""
    _, unknown = authority("127.0.0.1")
    async with web_peer(unknown) as peer, mute_peer() as mute, http_client() as client:
        for url, what, timeout in ((peer.url, "certificate", None), (f"https://{mute}", "no reply within", 0.2)):
            with pytest.raises(HttpError, match=what) as caught:
                await client.send(HttpRequest(b"POST", url, (), body), timeout)
            assert not caught.value.was_sent
        # Long enough to connect, on a busy machine, too.
        with pytest.raises(HttpError, match="no reply within") as caught:
            await client.send(HttpRequest(b"POST", f"http://{mute}", (), body), 3.0)
        assert caught.value.was_sent


# -- TLS -----------------------------------------------------------------------------------------------


@ensureDeferred
async def test_certificates_are_verified():
    """A certificate of a known authority is taken, an unknown authority or a wrong name is refused."""
    root, options = authority("127.0.0.1")
    _, misnamed = authority("elsewhere.example")
    async with web_peer(options) as peer, web_peer(misnamed) as wrong, http_client() as untrusting:
        peer.answer("/", 200, b"over TLS")
        async with http_client(root) as client:
            for _ in range(2):
                assert (await client.send(get(peer.url + "/"))).body == b"over TLS"
            assert len({seen.client for seen in peer.seen}) == 1
            with pytest.raises(HttpError, match="certificate"):
                await client.send(get(wrong.url + "/"))
        with pytest.raises(HttpError, match="certificate"):
            await untrusting.send(get(peer.url + "/"))


@ensureDeferred
async def test_invalid_certificates_are_taken_when_asked():
    """`accept_invalid_certs` talks to a self-signed server, for development."""
    _, options = authority("elsewhere.example")
    async with web_peer(options) as peer, http_client(accept_invalid_certs=True) as client:
        peer.answer("/", 200, b"hush")
        assert (await client.send(get(peer.url + "/"))).body == b"hush"


# -- what may be sent ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://api.example/v3?a=%20b&c=d#f", "https://api.example/v3?a=%20b&c=d#f"),
        ("http://bücher.example/über uns?q=ä", "http://xn--bcher-kva.example/%C3%BCber%20uns?q=%C3%A4"),
    ],
)
def test_urls_are_sent_in_ascii(url, clean):
    """Spaces and non-ASCII letters are encoded as RFC 3986 and IDNA say."""
    assert clean_url(url) == clean


@pytest.mark.parametrize("url", ["", "ftp://x.example/", "/path", "http://", "file:///etc/passwd", "http:///x"])
def test_what_is_no_url_is_refused(url):
    """Only http and https go out."""
    with pytest.raises(ValueError, match="not an http or https URL"):
        clean_url(url)


@pytest.mark.parametrize(
    ("name", "value"),
    [(b"X\r\nY", b"z"), (b"", b"z"), (b"X:", b"z"), (b"X", b"a\r\nB: c"), (b"X", b"a\nb"), (b"X", b"\0")],
)
def test_a_header_cannot_smuggle_another(name, value):
    """A line break in a name or value is refused."""
    with pytest.raises(ValueError, match="header"):
        clean_header(name, value)

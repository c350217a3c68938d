"""What is too large, too slow, too many or compressed to death, and the connection's manners, over real sockets."""

import gzip
import json
import zlib

import pytest
import pytest_twisted
import trustme
from support import fakes_http
from support.fakes_http import House, bodies, encode, listen, simple
from support.fakes_intake import FakeKeys
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.ssl import Certificate, CertificateOptions, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import Clock, deferLater

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.listener import HttpListenerConfig
from kumotwist.intake.http.tls import with_tls
from kumotwist.net import httpserver
from kumotwist.net.tasks import Tasks
from kumotwist.net.tls import ServerTls

TOO_LARGE = "Failed to buffer the request body: length limit exceeded"


@pytest.fixture
def house():
    return House()


@pytest.fixture
def serve(house):
    listening = []

    def start(**options):
        listening.append(listen(house, **options))
        return listening[-1]

    yield start
    for one in listening:
        pytest_twisted.blockon(ensureDeferred(one.close()))


async def until(condition):
    deadline = reactor.seconds() + 30
    while not condition():
        assert reactor.seconds() < deadline, "it did not happen"
        await deferLater(reactor, 0.001)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "identity", "GZIP"])
@pytest_twisted.ensureDeferred
async def test_compressed_requests(house, serve, coding):
    """A body may come as gzip or deflate."""
    pack = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[coding.lower()]
    answer = await serve().inject(pack(json.dumps(simple()).encode()), content_encoding=coding)
    assert answer.code == 200
    assert len(bodies(house)) == 1


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
@pytest_twisted.ensureDeferred
async def test_unknown_codings(serve, coding):
    """What we cannot read is 415, with what we can."""
    answer = await serve().inject(b"x", content_encoding=coding)
    assert answer.code == 415
    assert answer.headers["accept-encoding"] == "gzip,deflate"


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: b"\x1f\x8b" + data[8:], lambda data: b"nonsense"]
)
@pytest_twisted.ensureDeferred
async def test_damaged_compression(serve, damage):
    """Data that cannot be inflated is 400."""
    answer = await serve().inject(damage(gzip.compress(b"x" * 1000)), content_encoding="gzip")
    assert answer.code == 400


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest_twisted.ensureDeferred
async def test_compression_bombs_stop_early(serve, coding):
    """A small body that would inflate to a hundred megabytes is 413 as soon as the limit is passed."""
    engine = zlib.compressobj(1, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    bomb = b"".join([engine.compress(bytes(1 << 20)) for _ in range(100)]) + engine.flush()
    answer = await serve().inject(bomb, content_encoding=coding)
    assert answer.code == 413
    assert answer.text == TOO_LARGE


@pytest_twisted.ensureDeferred
async def test_many_small_members_count_together(serve):
    """RFC 1952 s2.2: a gzip body of many members is limited as a whole."""
    answer = await serve(request_body_limit=10_000).inject(gzip.compress(b"x" * 900) * 20, content_encoding="gzip")
    assert answer.code == 413


@pytest_twisted.ensureDeferred
async def test_a_body_over_the_limit_is_refused_before_it_is_sent(serve):
    """413 by the announced length, without `100 Continue`, and the connection ends."""
    peer = serve(request_body_limit=1000)
    client = await peer.connect()
    client.send(b"POST /api/inject/v1 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
    answer = await client.next()
    assert answer.code == 413
    assert answer.text == TOO_LARGE
    assert answer.headers["connection"] == "close"
    await client.closed


@pytest_twisted.ensureDeferred
async def test_a_client_that_keeps_sending_still_hears_413(serve):
    """A client that sends the whole body first is not reset before it can read the answer."""
    peer = serve(request_body_limit=1000)
    client = await peer.connect()
    client.send(b"POST /api/inject/v1 HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n" + b"x" * 4_000_000)
    assert (await client.next()).code == 413


@pytest_twisted.ensureDeferred
async def test_chunked_bodies_are_counted(house, serve):
    """Without a length the limit is enforced while the body arrives; within it all is well."""
    peer = serve(request_body_limit=2000)
    client = await peer.connect()
    body = json.dumps(simple()).encode()
    head = b"POST /api/inject/v1 HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert (await client.next()).code == 200
    client.send(head + b"".join([b"64\r\n" + b" " * 100 + b"\r\n"] * 30))
    assert (await client.next()).code == 413


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 20000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 20000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: yyyyyyyyyyyyyyyyyyyy\r\n" * 1000 + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"X:\r\n" * 600 + b"\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
    ],
)
@pytest_twisted.ensureDeferred
async def test_broken_and_endless_headers(serve, head, code):
    """A header without end or sense is refused with a status, and the connection ends."""
    peer = serve()
    client = await peer.connect()
    client.send(head)
    assert (await client.next()).code == code
    await client.closed
    await until(lambda: not peer.site._channels)


@pytest_twisted.ensureDeferred
async def test_memory_for_bodies_is_bounded_over_all_connections(house, serve):
    """Bodies that are in memory together beyond the bound are 503, and are forgotten when their clients go."""
    peer = serve()
    peer.site.max_held = 50_000
    slow = await peer.connect()
    slow.send(b"POST /api/inject/v1 HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + b"x" * 45_000)
    await until(lambda: peer.site.held == 45_000)
    answer = await peer.inject(b" " * 10_000)
    assert answer.code == 503
    assert answer.text == "Error: load shedding"
    slow.transport.abortConnection()
    await until(lambda: peer.site.held == 0)
    assert (await peer.inject(simple())).code == 200
    packed = gzip.compress(json.dumps(simple("Subject: x\n\n" + "y" * 60_000)).encode())
    assert (await peer.inject(packed, content_encoding="gzip")).code == 503
    await until(lambda: peer.site.held == 0)


@pytest_twisted.ensureDeferred
async def test_connections_are_bounded(house, serve):
    """One connection too many is closed at once; the others go on."""
    peer = serve()
    peer.site._max_connections = 2
    first, second, third = [await peer.connect() for _ in range(3)]
    await third.closed
    first.send(encode("GET", "/api/check-liveness/v1"))
    assert (await first.next()).text == "OK"
    numbers = {sample.name: sample.value for sample in peer.site.samples()}
    assert numbers == {"connection_count": 2, "total_connection_count": 2, "total_connections_denied": 1}
    assert not second.closed.called


@pytest_twisted.ensureDeferred
async def test_keep_alive_and_close(serve):
    """A connection serves many requests, until the client says `close` or speaks HTTP/1.0."""
    client = await serve().connect()
    for _ in range(3):
        client.send(encode("GET", "/api/check-liveness/v1"))
        assert (await client.next()).code == 200
    client.send(encode("GET", "/api/check-liveness/v1", connection="close"))
    assert (await client.next()).code == 200
    await client.closed
    old = await serve().connect()
    old.send(b"GET /api/check-liveness/v1 HTTP/1.0\r\n\r\n")
    await old.closed
    assert old.data.endswith(b"\r\n\r\nOK")


@pytest_twisted.ensureDeferred
async def test_pipelined_requests_are_answered_in_order(house, serve):
    """Several requests in one packet get their replies in order (RFC 9112 s9.3.2)."""
    client = await serve().connect()
    body = json.dumps(simple()).encode()
    client.send(
        encode("GET", "/api/check-liveness/v1")
        + encode("POST", "/api/inject/v1", body, content_type="application/json")
        + encode("GET", "/nothing")
    )
    assert [(await client.next()).code for _ in range(3)] == [200, 200, 404]


@pytest_twisted.ensureDeferred
async def test_a_request_cut_at_every_octet(house, serve):
    """However the packets are cut, the request is the same."""
    request = encode("POST", "/api/inject/v1", json.dumps(simple()).encode(), content_type="application/json")
    client = await serve().connect()
    for octet in request:
        client.send(bytes([octet]))
        await deferLater(reactor, 0)
    assert (await client.next()).code == 200


@pytest_twisted.ensureDeferred
async def test_large_replies_are_compressed_for_who_asks(serve):
    """/metrics comes as gzip when the client can read that."""
    peer = serve()
    plain = await peer.request("GET", "/metrics")
    packed = await peer.request("GET", "/metrics", accept_encoding="gzip, br")
    assert plain.body == packed.body
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert (await peer.request("HEAD", "/api/check-liveness/v1")).code == 200


@pytest_twisted.ensureDeferred
async def test_liveness_says_why_not(house, serve):
    """503 with the reason while nothing is taken."""
    house.gate.text = "disk is too full"
    answer = await serve().request("GET", "/api/check-liveness/v1")
    assert (answer.code, answer.text) == (503, "disk is too full")


@pytest_twisted.ensureDeferred
async def test_slow_and_idle_clients_are_hung_up_on():
    """A request that drips in is 408 after its time, an idle connection is closed; a request at work is waited for."""
    clock = Clock()
    house = House(clock=clock)
    house.store.hold = True
    peer = listen(house)
    idle, drip, busy = [await peer.connect() for _ in range(3)]
    drip.send(b"POST /api/inject/v1 HTTP/1.1\r\nContent-Length: 100\r\n\r\nx")
    busy.send(encode("POST", "/api/inject/v1", json.dumps(simple()).encode(), content_type="application/json"))
    await until(lambda: house.store.waiting and len(peer.site._channels) == 3 and peer.site.held > 1)
    waiting = drip.next()
    clock.pump([httpserver.SWEEP_INTERVAL] * 14)
    await idle.closed
    clock.pump([httpserver.SWEEP_INTERVAL] * 14)
    assert (await waiting).code == 408
    await drip.closed
    assert not busy.closed.called
    house.store.release()
    assert (await busy.next()).code == 200
    await peer.close()
    assert not clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_closing_lets_requests_end(house):
    """At shutdown idle connections go at once, a request at work gets its reply, then its connection ends too."""
    house.store.hold = True
    peer = listen(house)
    idle, busy = await peer.connect(), await peer.connect()
    busy.send(encode("POST", "/api/inject/v1", json.dumps(simple()).encode(), content_type="application/json"))
    await until(lambda: house.store.waiting and len(peer.site._channels) == 2)
    closing = ensureDeferred(peer.close_gently())
    await idle.closed
    assert not closing.called
    house.store.release()
    assert (await busy.next()).code == 200
    await busy.closed
    await closing


# Twisted 26.10 hands pyOpenSSL its own certificate objects.
@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
@pytest_twisted.ensureDeferred
async def test_https(house):
    """With use_tls and a certificate the listener speaks HTTPS; clients can verify it; without one it signs its own."""
    ca = trustme.CA()
    certificate = ca.issue_cert("localhost")
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    config = HttpListenerConfig(
        use_tls=True,
        tls_certificate=LiteralKey(chain),
        tls_private_key=LiteralKey(certificate.private_key_pem.bytes()),
    )
    trust = trustRootFromCertificates([Certificate.loadPEM(ca.cert_pem.bytes())])
    answer = await over_tls(house, config, optionsForClientTLS("localhost", trust))
    assert answer.json()["success_count"] == 1
    assert house.queue.messages[0].meta["received_from"] == "127.0.0.1"
    answer = await over_tls(house, HttpListenerConfig(use_tls=True), CertificateOptions(verify=False))
    assert answer.code == 200


async def over_tls(house, config, client_options):
    tasks = Tasks()
    site = house.site(use_tls=True)
    factory = await with_tls(site, config, ServerTls(FakeKeys(), reactor), tasks, "localhost")
    peer = fakes_http.Peer(reactor.listenTCP(0, factory, interface="127.0.0.1"), site, tls=client_options)
    answer = await peer.inject(simple())
    await peer.close()
    await tasks.close()
    return answer

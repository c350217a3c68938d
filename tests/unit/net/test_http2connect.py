"""HTTP/2 over real TLS with Node's stack at the other end: proven names, ALPN, many streams, rude endings."""

import pytest
import pytest_twisted
import trustme
from OpenSSL import SSL
from support.http2peer import CA, ROOTS, http2_peer, needs_node
from twisted.internet import defer, reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from kumotwist.net.http import HttpError
from kumotwist.net.http2 import Http2Settings
from kumotwist.net.http2connect import Destination, connect
from kumotwist.net.http2stream import Http2Request, StreamFailed
from kumotwist.net.tls import ServerContext
from kumotwist.net.tls_client import ClientTls

pytestmark = needs_node
TOKEN = "ab" * 32


def request(token=TOKEN, body=b'{"aps":{}}'):
    shared = [(b"apns-topic", b"com.example.app")]
    return Http2Request(b"POST", f"/3/device/{token}".encode(), shared, body=body)


async def open_to(peer, host="localhost", roots=ROOTS, timeout=10.0, **options):
    destination = Destination(host=host, port=peer.port, timeout=timeout)
    return await connect(reactor, reactor, ClientTls(roots), destination, Http2Settings(**options))


async def refused(peer, **options):
    with pytest.raises(HttpError) as caught:
        await open_to(peer, **options)
    return str(caught.value)


@pytest_twisted.ensureDeferred
async def test_many_requests_at_once_over_one_connection():
    """A thousand requests, a hundred at a time as the peer allows, each with the reply that is its own."""
    with http2_peer(settings={"maxConcurrentStreams": 100}) as peer:
        connection = await open_to(peer)
        assert connection.stream_limit == 100
        assert connection.facts.protocol_version == "TLSv1.3"
        assert connection.peer_address == f"127.0.0.1:{peer.port}"
        bodies = [b'{"aps":{},"n":%d}' % number for number in range(1000)]
        replies = await defer.gatherResults([connection.send(request(body=body)) for body in bodies])
        assert {one.code for one in replies} == {200}
        assert sorted(one["body"] for one in peer.requests()) == sorted(body.decode() for body in bodies)
        assert peer.tell(count=True) == {"count": 1000, "sessions": 1}
        await connection.close()
        assert not connection.is_usable


@pytest_twisted.ensureDeferred
async def test_small_windows_and_a_limit_that_grows():
    """Node opens windows and raises the limit as it goes: large bodies pass all the same."""
    with http2_peer(settings={"maxConcurrentStreams": 1, "initialWindowSize": 100}) as peer:
        connection = await open_to(peer)
        sent = [connection.send(request(body=b'{"aps":{},"x":"%s"}' % (b"x" * 4000))) for _ in range(5)]
        peer.tell(settings={"maxConcurrentStreams": 50})
        assert [one.code for one in await defer.gatherResults(sent)] == [200] * 5
        assert connection.stream_limit == 50
        await connection.close()


@pytest_twisted.ensureDeferred
async def test_endings_of_one_request_leave_the_others_alone():
    """Refused, reset, too large, stalled: each request hears its own, and the next one goes through."""
    with http2_peer() as peer:
        connection = await open_to(peer, timeout=10.0, max_response=1000)
        peer.script(aa={"reset": 7}, bb={"reset": 2}, cc={"large": 5000}, dd={"status": 410, "reason": "Unregistered"})
        outcomes = await defer.DeferredList(
            [connection.send(request(token)) for token in ("aa", "bb", "cc", "dd", TOKEN)], consumeErrors=True
        )
        doubts = [one.value.was_sent for succeeded, one in outcomes[:3] if not succeeded]
        assert doubts == [False, True, True]
        assert [one.code for _, one in outcomes[3:]] == [410, 200]
        await connection.close()


@pytest_twisted.ensureDeferred
async def test_goaway_in_the_middle():
    """Requests that the peer names as taken are answered, those above may be sent again elsewhere."""
    with http2_peer() as peer:
        connection = await open_to(peer)
        peer.script(bb={"goaway": {"last": 3, "text": '{"reason":"Shutdown"}'}, "stall": True})
        sent = [connection.send(request(token)) for token in (TOKEN, "bb", TOKEN)]
        with pytest.raises(StreamFailed, match="Shutdown") as caught:
            await sent[2]
        assert not caught.value.was_sent
        assert (await sent[0]).code == 200
        assert not sent[1].called
        sent[1].addErrback(lambda failure: failure.trap(StreamFailed))
        await connection.close()


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_cut_and_a_header_bomb():
    """Both leave the requests in doubt and the connection unusable."""
    for action in ({"destroy": True}, {"bomb": True}):
        with http2_peer() as peer:
            connection = await open_to(peer)
            peer.script(aa=action)
            with pytest.raises(StreamFailed) as caught:
                await connection.send(request("aa"))
            assert caught.value.was_sent
            assert not connection.is_usable
            await connection.closed


@pytest_twisted.ensureDeferred
async def test_who_cannot_prove_the_name_hears_nothing():
    """Another authority, another name: no request leaves, and the reason is told."""
    with http2_peer() as peer:
        assert "TLS failed" in await refused(peer, roots=(trustme.CA().cert_pem.bytes(),))
        assert peer.tell(count=True)["count"] == 0
    with http2_peer(name="elsewhere.example") as peer:
        assert "certificate is not for localhost" in await refused(peer)
        assert peer.tell(count=True)["count"] == 0


class Place:
    """Where a server of our own listens."""

    def __init__(self, listening):
        self.listening = listening
        self.port = listening.getHost().port


@pytest_twisted.ensureDeferred
async def test_a_peer_that_speaks_http_1_only_is_told_apart():
    """Wrong ALPN or none: said in so many words, for it is mostly a wrong port or proxy."""
    with http2_peer(http1=True) as peer:
        assert "no application protocol" in await refused(peer)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    CA.issue_cert("localhost").configure_cert(context)
    factory = TLSMemoryBIOFactory(ServerContext(context), False, Factory.forProtocol(Protocol))
    place = Place(reactor.listenTCP(0, factory, interface="127.0.0.1"))
    assert "does not speak HTTP/2 but no protocol that it names" in await refused(place)
    await place.listening.stopListening()


@pytest_twisted.ensureDeferred
async def test_nobody_there_and_somebody_silent():
    """Refused at once; a peer that takes the connection and says nothing costs its time-out, no more."""
    place = Place(reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1"))
    assert "no TLS and HTTP/2 settings within 0.2 s" in await refused(place, timeout=0.2)
    waiting = defer.Deferred.fromCoroutine(open_to(place, host="127.0.0.1"))
    reactor.callLater(0.1, waiting.cancel)
    with pytest.raises(defer.CancelledError):
        await waiting
    await place.listening.stopListening()
    assert "cannot connect" in await refused(place)

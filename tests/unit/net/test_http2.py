"""The HTTP/2 client against another end of the protocol in memory: everything that a peer may do to a request."""

import gc

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, PingReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from kumotwist.core.errors import RemoteProtocolError
from kumotwist.net import http2
from kumotwist.net.http2 import Http2Connection, Http2Settings
from kumotwist.net.http2frames import Goaway, GoawayFilter
from kumotwist.net.http2stream import Http2Request, StreamFailed

POST = Http2Request(b"POST", b"/3/device/ab", [(b"apns-topic", b"a.b")], [(b"apns-id", b"1")], b'{"aps":{}}')


class Transport(StringTransport):
    """Remembers what our client asked for."""

    aborting = False

    def abortConnection(self):
        self.aborting = True


class Peer:
    """A client connection and a server's end of HTTP/2, with nothing but memory between them."""

    def __init__(self, begin=True, initial=None, **options):
        self.clock = Clock()
        self.transport = Transport()
        self.client = Http2Connection(self.clock, "push.example:2197", Http2Settings(**options))
        self.client.ready.addErrback(lambda failure: failure.trap(RemoteProtocolError))
        self.server = H2Connection(H2Configuration(client_side=False))
        if initial:
            self.server.local_settings.update(initial)
            self.server.local_settings.acknowledge()
        self.requests = {}
        self.ended = []
        self.resets = {}
        self.pings = 0
        self.client.makeConnection(self.transport)
        self.client.start()
        self.server.initiate_connection()
        if begin:
            self.exchange()

    def hear(self):
        """What the client has said since the last time."""
        data = self.transport.value()
        self.transport.clear()
        for event in self.server.receive_data(data):
            if isinstance(event, RequestReceived):
                self.requests[event.stream_id] = [dict(event.headers), b""]
            elif isinstance(event, DataReceived):
                self.requests[event.stream_id][1] += event.data
            elif isinstance(event, StreamEnded):
                self.ended.append(event.stream_id)
            elif isinstance(event, StreamReset):
                self.resets[event.stream_id] = event.error_code
            elif isinstance(event, PingReceived):
                self.pings += 1

    def exchange(self):
        """Let both sides say what they have to."""
        while True:
            self.hear()
            said = self.server.data_to_send()
            if not said:
                return
            self.client.dataReceived(said)

    def say(self, data):
        """Octets of the test's own making, straight to the client."""
        self.client.dataReceived(data)

    def answer(self, stream, status=200, body=b"", headers=(), end=True):
        self.server.send_headers(stream, [(":status", str(status)), *headers], end_stream=end and not body)
        if body:
            self.server.send_data(stream, body, end_stream=end)
        self.exchange()

    def send(self, request=POST):
        reply = Reply(self.client.send(request))
        self.exchange()
        return reply

    def goaway(self, last_stream, code=0, text=b""):
        payload = last_stream.to_bytes(4, "big") + code.to_bytes(4, "big") + text
        self.say(frame(7, 0, 0, payload))

    def lose(self):
        self.client.connectionLost(Failure(ConnectionLost()))


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Reply:
    """What became of one request."""

    def __init__(self, deferred):
        self.deferred = deferred
        self.response = self.error = None
        deferred.addCallbacks(self._came, self._failed)

    def _came(self, response):
        self.response = response

    def _failed(self, failure):
        self.error = failure.value

    @property
    def failure(self):
        """(text, was_sent)."""
        assert isinstance(self.error, StreamFailed), self.error
        return str(self.error), self.error.was_sent


@pytest.fixture(autouse=True)
def _no_deferred_is_left_failing():
    yield
    gc.collect()


# -- the ordinary way ---------------------------------------------------------------------------


def test_a_request_goes_out_whole_and_its_reply_comes_back():
    """Method, path, authority, both kinds of headers and the body; status, headers and body of the reply."""
    peer = Peer()
    reply = peer.send()
    headers, body = peer.requests[1]
    assert headers == {
        b":method": b"POST",
        b":scheme": b"https",
        b":authority": b"push.example:2197",
        b":path": b"/3/device/ab",
        b"apns-topic": b"a.b",
        b"apns-id": b"1",
    }
    assert body == POST.body
    assert peer.ended == [1]
    peer.answer(1, 410, b'{"reason":"Unregistered"}', [("apns-id", "1")])
    assert (reply.response.code, reply.response.body) == (410, b'{"reason":"Unregistered"}')
    assert reply.response.header("apns-id") == "1"


def test_a_request_may_have_no_body_and_a_reply_neither():
    """HEADERS with END_STREAM both ways."""
    peer = Peer()
    reply = peer.send(Http2Request(b"GET", b"/"))
    assert peer.ended == [1]
    peer.answer(1, 204)
    assert (reply.response.code, reply.response.body) == (204, b"")


def test_early_hints_and_trailers_are_not_the_reply():
    """RFC 9110 s15.2: 1xx come before it; trailers end it."""
    peer = Peer()
    reply = peer.send()
    peer.server.send_headers(1, [(":status", "103"), ("link", "x")])
    peer.exchange()
    assert reply.response is None
    peer.answer(1, 200, b"ok", end=False)
    peer.server.send_headers(1, [("grpc-status", "0")], end_stream=True)
    peer.exchange()
    assert (reply.response.code, reply.response.body) == (200, b"ok")


def test_replies_may_come_in_any_order():
    """That is what streams are for."""
    peer = Peer()
    replies = [peer.send() for _ in range(3)]
    for stream in (5, 1, 3):
        peer.answer(stream, 200, str(stream).encode())
    assert [one.response.body for one in replies] == [b"1", b"3", b"5"]


@settings(max_examples=examples(40))
@given(st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_any_split_of_what_the_peer_says_is_the_same(sizes):
    """TCP cuts where it likes: frames, and a GOAWAY between them, are put together again."""
    peer = Peer()
    replies = [peer.send() for _ in range(2)]
    peer.server.send_headers(1, [(":status", "200")])
    peer.server.send_data(1, b"first", end_stream=True)
    said = peer.server.data_to_send() + frame(7, 0, 0, (3).to_bytes(4, "big") + bytes(4) + b"bye")
    peer.server.send_headers(3, [(":status", "404")], end_stream=True)
    said += peer.server.data_to_send()
    while said:
        size = sizes.pop() if sizes else len(said)
        peer.say(said[:size])
        said = said[size:]
    assert [one.response.code for one in replies] == [200, 404]
    assert peer.client.ending == "the peer ends the connection: NO_ERROR bye"


# -- limits of the peer -------------------------------------------------------------------------


def test_the_stream_limit_is_obeyed_and_the_rest_waits_its_turn():
    """RFC 9113 s5.1.2: with room for two, the third request goes when one reply is there."""
    peer = Peer(initial={SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    assert peer.client.stream_limit == 2
    replies = [peer.send() for _ in range(5)]
    assert sorted(peer.requests) == [1, 3]
    peer.answer(3)
    assert sorted(peer.requests) == [1, 3, 5]
    for stream in (1, 5, 7, 9):
        peer.answer(stream)
    assert [one.response.code for one in replies] == [200] * 5


def test_a_limit_that_grows_lets_waiting_requests_go():
    """Apple's servers allow one stream until the first reply and a thousand from then on."""
    peer = Peer(initial={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    for _ in range(4):
        peer.send()
    assert sorted(peer.requests) == [1]
    peer.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1000})
    peer.exchange()
    assert sorted(peer.requests) == [1, 3, 5, 7]


def test_a_peer_without_a_limit_gets_no_more_than_ours():
    """Every number has a bound."""
    peer = Peer(initial={SettingCodes.MAX_CONCURRENT_STREAMS: 2**31})
    assert peer.client.stream_limit == http2.MAX_STREAMS


def test_a_limit_of_nothing_means_waiting():
    """RFC 9113 s6.5.2 allows zero: requests wait, and their time runs; nothing was processed."""
    peer = Peer(initial={SettingCodes.MAX_CONCURRENT_STREAMS: 0}, timeout=5)
    reply = peer.send()
    peer.clock.pump([1] * 5)
    assert peer.requests == {}
    assert reply.failure == ("no stream free within 5 s", False)


def test_a_body_goes_as_the_streams_window_lets_it():
    """RFC 9113 s6.9: a window of ten octets means ten octets; the rest follows when the peer opens it."""
    peer = Peer(initial={SettingCodes.INITIAL_WINDOW_SIZE: 10})
    reply = peer.send(Http2Request(b"POST", b"/", body=bytes(25)))
    other = peer.send(Http2Request(b"POST", b"/", body=b"short"))
    assert [len(body) for _, body in peer.requests.values()] == [10, 5]
    for _ in range(2):
        peer.server.increment_flow_control_window(10, 1)
        peer.exchange()
    assert len(peer.requests[1][1]) == 25
    peer.answer(1)
    peer.answer(3)
    assert (reply.response.code, other.response.code) == (200, 200)


def test_no_stream_is_opened_while_the_connections_window_is_shut():
    """A stream that cannot say what it wants would only be one more in doubt when the connection breaks."""
    peer = Peer()
    full = peer.send(Http2Request(b"POST", b"/", body=bytes(65535)))
    waiting = peer.send()
    assert sorted(peer.requests) == [1]
    peer.lose()
    assert full.failure[1] is True
    assert waiting.failure[1] is False


def test_long_bodies_go_in_frames_that_the_peer_takes():
    """RFC 9113 s4.2: no frame larger than SETTINGS_MAX_FRAME_SIZE, 16 KiB at first."""
    peer = Peer()
    peer.send(Http2Request(b"POST", b"/", body=bytes(40_000)))
    assert len(peer.requests[1][1]) == 40_000
    assert peer.ended == [1]


def test_windows_are_opened_again_for_the_peer():
    """Replies of more than a window's size come through on one stream after the other."""
    peer = Peer()
    for number in range(5):
        reply = peer.send()
        peer.answer(2 * number + 1, 200, bytes(16_000), end=False)
        peer.server.send_data(2 * number + 1, bytes(16_000), end_stream=True)
        peer.exchange()
        assert len(reply.response.body) == 32_000


# -- bounds of ours -----------------------------------------------------------------------------


def test_a_reply_that_is_too_large_is_dropped():
    """The stream is reset, the connection goes on, and the request may have been processed."""
    peer = Peer(max_response=100)
    reply, other = peer.send(), peer.send()
    peer.answer(1, 200, bytes(101), end=False)
    assert reply.failure == ("the reply is larger than 100 octets", True)
    assert 1 in peer.resets
    peer.answer(3)
    assert other.response.code == 200
    assert peer.client.is_usable


def test_a_header_bomb_ends_the_connection():
    """More than 16 KiB of headers, by size or by many small references: refused before it is unpacked."""
    for headers in ([("x", "y" * 20_000)], [("x" * 4000, "y")] * 8):
        peer = Peer()
        reply = peer.send()
        peer.server.send_headers(1, [(":status", "200"), *headers], end_stream=True)
        peer.say(peer.server.data_to_send())
        assert reply.failure[1] is True
        assert "broke the protocol" in reply.failure[0]
        assert peer.transport.aborting


def test_headers_that_never_end_end_the_connection():
    """CONTINUATION frames without end (CVE-2024-27316) are not collected for ever."""
    peer = Peer()
    reply = peer.send()
    peer.say(frame(1, 0, 1, b"\x88"))
    for _ in range(100):
        peer.say(frame(9, 0, 1, b"\x00\x01a\x01b"))
    assert reply.failure[1] is True
    assert peer.transport.aborting


def test_a_pushed_stream_is_refused():
    """We said that we want none: RFC 9113 s8.4 makes it a connection error."""
    peer = Peer()
    reply = peer.send()
    peer.say(frame(5, 4, 1, (2).to_bytes(4, "big") + b"\x82\x84\x87"))
    assert "broke the protocol" in reply.failure[0]


@pytest.mark.parametrize(
    "garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(9), b"\xff" * 40, frame(7, 0, 0, b"\0")]
)
def test_garbage_ends_the_connection_and_says_so(garbage):
    """What is not HTTP/2 fails the requests and leaves nothing open."""
    peer = Peer()
    reply = peer.send()
    peer.say(garbage if garbage != bytes(9) else frame(0, 0, 0, b"x"))
    assert reply.failure[1] is True
    assert "broke the protocol" in reply.failure[0]
    assert peer.transport.aborting
    assert not peer.client.is_usable


@settings(max_examples=examples(150))
@given(st.binary(max_size=300))
def test_no_octets_whatever_make_anything_but_a_failed_request(garbage):
    """Fuzz: each request ends once, by a reply or by StreamFailed; nothing else is raised."""
    peer = Peer(timeout=5)
    reply = peer.send()
    peer.say(garbage)
    peer.clock.pump([1] * 5)
    assert (reply.response is None) != (reply.error is None)
    if reply.error is not None:
        assert isinstance(reply.error, StreamFailed)


@pytest.mark.parametrize(
    "request_",
    [
        Http2Request(b"POST", b"no-slash"),
        Http2Request(b"POST", b"/a b"),
        Http2Request(b"POST", b"/a\r\nx: y"),
        Http2Request(b"PO ST", b"/"),
        Http2Request(b"POST", b"/", [(b"apns-topic", b"a\r\nb")]),
        Http2Request(b"POST", b"/", [(b"apns-topic", b"a\nb")]),
        Http2Request(b"POST", b"/", [(b"apns-topic", b"a\0b")]),
        Http2Request(b"POST", b"/", [(b"apns-topic", b" a")]),
        Http2Request(b"POST", b"/", own=[(b"Apns-Id", b"a")]),
        Http2Request(b"POST", b"/", own=[(b"a b", b"a")]),
        Http2Request(b"POST", b"/", own=[(b":path", b"/b")]),
    ],
)
def test_what_would_not_be_one_request_is_not_sent(request_):
    """Line breaks and the like in a field are our caller's mistake and never reach the peer, nor the message."""
    peer = Peer()
    with pytest.raises(ValueError, match=r"not a|the value of"):
        peer.client.send(request_)
    peer.exchange()
    assert peer.requests == {}


# -- endings ------------------------------------------------------------------------------------


def test_goaway_tells_apart_what_may_be_sent_again():
    """RFC 9113 s6.8: streams above the last one were not processed, those below are still answered."""
    peer = Peer(initial={SettingCodes.MAX_CONCURRENT_STREAMS: 3})
    replies = [peer.send() for _ in range(4)]
    peer.goaway(3, 0, b'{"reason":"Shutdown"}')
    assert replies[2].failure == ('the peer ends the connection: NO_ERROR {"reason":"Shutdown"}', False)
    assert replies[3].failure[1] is False
    assert not peer.client.is_usable
    peer.answer(1, 200, b"done")
    peer.answer(3, 410)
    assert [one.response.code for one in replies[:2]] == [200, 410]
    assert peer.transport.disconnecting


def test_a_goaway_that_only_warns_lets_everything_end():
    """RFC 9113 s6.8: a server may first name the highest stream there could be."""
    peer = Peer()
    reply = peer.send()
    peer.goaway(2**31 - 1)
    assert reply.error is None
    assert not peer.client.is_usable
    later = peer.send()
    assert later.failure == ("the peer ends the connection: NO_ERROR", False)
    peer.goaway(1)
    peer.answer(1)
    assert reply.response.code == 200


def test_bodies_that_wait_for_a_window_still_go_out_after_a_goaway():
    """A stream that the peer promised to answer is carried to its end."""
    peer = Peer(initial={SettingCodes.INITIAL_WINDOW_SIZE: 4})
    reply = peer.send()
    peer.goaway(1)
    peer.server.increment_flow_control_window(100, 1)
    peer.exchange()
    assert peer.requests[1][1] == POST.body
    peer.answer(1)
    assert reply.response.code == 200


def test_goaway_while_idle_closes_the_connection():
    """APNs ends idle connections; the next message opens a new one."""
    peer = Peer()
    peer.goaway(0, 0, b'{"reason":"IdleTimeout"}')
    assert not peer.client.is_usable
    assert "IdleTimeout" in peer.client.ending
    assert peer.transport.disconnecting


@pytest.mark.parametrize(
    ("code", "is_ambiguous"), [(7, False), (2, True), (8, True), (11, True), (0, True), (99, True)]
)
def test_a_reset_stream_is_in_doubt_unless_it_was_refused(code, is_ambiguous):
    """RFC 9113 s8.7: REFUSED_STREAM alone promises that nothing was done."""
    peer = Peer()
    reply, other = peer.send(), peer.send()
    peer.say(frame(3, 0, 1, code.to_bytes(4, "big")))
    assert reply.failure[1] is is_ambiguous
    assert reply.failure[0].startswith("the peer reset the stream: ")
    peer.answer(3)
    assert other.response.code == 200


def test_an_answer_before_the_body_is_out_is_an_answer():
    """RFC 9113 s8.1: a server may judge by the headers; the rest of the body is not sent."""
    peer = Peer(initial={SettingCodes.INITIAL_WINDOW_SIZE: 4})
    reply = peer.send()
    peer.answer(1, 413, b"no")
    assert reply.response.code == 413
    assert 1 in peer.resets
    assert peer.send().error is None


def test_losing_the_connection_leaves_started_requests_in_doubt():
    """What was begun may have arrived; what waited did not."""
    peer = Peer(initial={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    started, waiting = peer.send(), peer.send()
    peer.lose()
    assert started.failure[1] is True
    assert waiting.failure[1] is False
    assert peer.client.closed.called
    assert peer.send().failure[1] is False


def test_a_request_that_nobody_waits_for_is_reset():
    """A cancelled delivery does not stay behind on the peer's side, and its turn goes to the next."""
    peer = Peer(initial={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    first, second, third = peer.send(), peer.send(), peer.send()
    second.deferred.cancel()
    first.deferred.cancel()
    peer.exchange()
    assert list(peer.resets) == [1]
    assert sorted(peer.requests) == [1, 3]
    peer.answer(3)
    assert third.response.code == 200


def test_a_stall_ends_by_the_requests_time():
    """No reply in time: the stream is reset, the outcome is in doubt, the connection goes on."""
    peer = Peer(timeout=10)
    reply = peer.send()
    peer.clock.pump([1] * 9)
    later = peer.send()
    peer.clock.advance(1)
    peer.exchange()
    assert reply.failure == ("no reply within 10 s", True)
    assert list(peer.resets) == [1]
    peer.answer(3)
    assert later.response.code == 200


def test_a_silent_peer_is_asked_whether_it_is_there():
    """PING after half a minute of silence; an answer is enough to go on."""
    peer = Peer()
    for _ in range(100):
        peer.clock.advance(1)
        peer.exchange()
    assert 2 <= peer.pings <= 3
    assert peer.client.is_usable


def test_a_dead_peer_is_noticed():
    """No answer to PING in ten seconds: the connection is gone, however TCP sees it."""
    peer = Peer(timeout=600)
    reply = peer.send()
    peer.clock.pump([1] * 41)
    assert reply.failure == ("no answer to PING within 10 s", True)
    assert peer.transport.aborting


def test_closing_is_polite_and_bounded():
    """GOAWAY and the end of TLS; a peer that does not let go is dropped after two seconds."""
    peer = Peer()
    peer.client.close()
    assert peer.transport.disconnecting
    assert not peer.transport.aborting
    peer.clock.advance(2)
    assert peer.transport.aborting
    peer.lose()
    assert peer.client.closed.called
    assert peer.clock.getDelayedCalls() == []
    peer.client.close()
    peer.client.abort()


def test_a_peer_that_does_not_read_is_not_read_from():
    """What its frames would have us answer does not pile up here; new requests wait and have no doubtful fate."""
    peer = Peer()
    peer.client.pauseProducing()
    assert peer.transport.producerState == "paused"
    reply = Reply(peer.client.send(POST))
    peer.hear()
    assert peer.requests == {}
    peer.client.resumeProducing()
    assert peer.transport.producerState == "producing"
    peer.exchange()
    peer.answer(1)
    assert reply.response.code == 200


def test_a_connection_that_has_used_up_its_streams_takes_no_more():
    """RFC 9113 s5.1.1: numbers are not used twice; a new connection starts at one."""
    peer = Peer()
    peer.client._h2.highest_outbound_stream_id = http2._LAST_STREAM - 2
    reply = peer.send()
    assert not peer.client.is_usable
    peer.answer(http2._LAST_STREAM)
    assert reply.response.code == 200


def test_ready_waits_for_the_peers_settings():
    """RFC 9113 s3.4: they are its first frame; what comes instead is no HTTP/2."""
    peer = Peer(begin=False)
    assert not peer.client.ready.called
    peer.exchange()
    assert peer.client.ready.called
    silent = Peer(begin=False)
    silent.lose()
    assert silent.client.ready.called


# -- the filter ---------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 4, 7]), st.binary(min_size=8, max_size=40)), max_size=8),
    st.lists(st.integers(1, 30), max_size=20),
)
def test_goaways_are_taken_out_and_nothing_else(frames, sizes):
    """Whatever the split, other frames come out octet by octet and each GOAWAY once."""
    stream = b"".join(frame(kind, 0, 1, payload) for kind, payload in frames)
    filter_, passed, found = GoawayFilter(), b"", []
    while stream:
        size = sizes.pop() if sizes else len(stream)
        data, goaways = filter_.feed(stream[:size])
        passed, stream = passed + data, stream[size:]
        found += goaways
    assert passed == b"".join(frame(kind, 0, 1, payload) for kind, payload in frames if kind != 7)
    assert len(found) == sum(kind == 7 for kind, _ in frames)


def test_what_a_goaway_says_is_bounded_and_printable():
    """Its text goes into logs."""
    payload = (5).to_bytes(4, "big") + (77).to_bytes(4, "big") + b"a\r\nb" + bytes(5000)
    _, (goaway,) = GoawayFilter().feed(frame(7, 0, 0, payload))
    assert goaway.last_stream == 5
    assert goaway.reason.startswith("error 77 a??b")
    assert len(goaway.reason) < 250
    assert Goaway(5, goaway.reason) == goaway

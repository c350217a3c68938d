"""The resolver: caching, single flight, failures, the hosts file, names that are no names."""

import pytest
import pytest_twisted
from twisted.internet import defer, reactor, task
from twisted.names import client as names_client
from twisted.names import dns, error, server
from twisted.names.common import ResolverBase
from twisted.python.failure import Failure

from kumotwist.core.errors import ResolveError
from kumotwist.net.dns import (
    MAX_CONCURRENT,
    NEGATIVE_TTL,
    CachingResolver,
    MxRecord,
    StaticResolver,
    ascii_name,
    system_client,
)
from kumotwist.net.zone import parse_hosts, parse_zone

ZONE = """
$ORIGIN example.com.
$TTL 60
@       SOA ns hostmaster 1 2 3 4 5 ; passed over
@ 300 IN MX 10 mx1
        MX 20 mx2.example.net.
mx1     A 192.0.2.1
        AAAA 2001:db8::1
www     CNAME mx1
txt     TXT "v=spf1 " "-all; really"
null    MX 0 .
1.2.0.192.in-addr.arpa. PTR mx1
"""


class HeldClient:
    """A twisted.names client whose answers the test gives."""

    def __init__(self):
        self.asked = []

    def query(self, query, timeout=None):
        answer = defer.Deferred()
        self.asked.append((query.name.name.decode(), query.type, answer))
        return answer


def header(name, payload, ttl):
    return dns.RRHeader(name, payload.TYPE, dns.IN, ttl, payload)


def held_resolver(hosts_file=None):
    client, clock = HeldClient(), task.Clock()
    return client, clock, CachingResolver(client, clock, hosts_file)


def start(coroutine):
    return defer.Deferred.fromCoroutine(coroutine)


def result_of(deferred):
    seen = []
    deferred.addBoth(seen.append)
    assert seen, "no result yet"
    if hasattr(seen[0], "raiseException"):
        seen[0].raiseException()
    return seen[0]


def test_an_answer_is_kept_for_its_time_to_live():
    """Each domain is asked for once per TTL, not once per message."""
    client, clock, resolver = held_resolver()
    first = start(resolver.mx("Example.COM."))
    client.asked[0][2].callback(([header("example.com", dns.Record_MX(10, "MX.example.com"), 30)], [], []))
    assert result_of(first) == [MxRecord(10, "mx.example.com")]
    clock.advance(29)
    assert result_of(start(resolver.mx("example.com"))) == [MxRecord(10, "mx.example.com")]
    clock.advance(2)
    start(resolver.mx("example.com")).addErrback(lambda _: None)
    assert [name for name, *_ in client.asked] == ["example.com"] * 2


@pytest.mark.parametrize(("problem", "permanent"), [(error.DNSNameError(), True), (error.DNSServerError(), False)])
def test_a_failure_is_kept_for_five_minutes(problem, permanent):
    """A broken domain does not cost a lookup for each message."""
    client, clock, resolver = held_resolver()
    first = start(resolver.txt("x.example"))
    client.asked[0][2].errback(problem)
    with pytest.raises(ResolveError) as caught:
        result_of(first)
    assert caught.value.permanent is permanent
    clock.advance(NEGATIVE_TTL - 1)
    with pytest.raises(ResolveError):
        result_of(start(resolver.txt("x.example")))
    assert len(client.asked) == 1


def test_no_answer_in_five_seconds_is_a_failure():
    """A silent name server holds nothing up for longer than 5 s."""
    _, clock, resolver = held_resolver()
    waiting = start(resolver.mx("slow.example"))
    clock.advance(5.1)
    with pytest.raises(ResolveError, match="timed out"):
        result_of(waiting)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (dns.EFORMAT, "the server cannot read the question"),
        (dns.ESERVER, "server failure"),
        (dns.ENOTIMP, "the server does not know such questions"),
        (dns.EREFUSED, "the server refuses to answer"),
        (6, "the server answers with an unknown error"),
    ],
)
def test_what_a_server_answers_is_told_in_words(code, text):
    """Each code of RFC 1035 that is no answer is told by what it means, and may pass."""
    client, _, resolver = held_resolver()
    waiting = start(resolver.mx("x.example"))
    problem = ResolverBase().exceptionForCode(code)
    client.asked[0][2].errback(Failure(problem(dns.Message(rCode=code))))
    with pytest.raises(ResolveError) as caught:
        result_of(waiting)
    assert str(caught.value) == f"MX x.example: {text}"
    assert not caught.value.permanent


def test_equal_questions_at_one_time_are_asked_once_and_survive_a_cancel():
    """A thousand messages for a new domain cost one lookup, and one that gives up does not fail the rest."""
    client, _, resolver = held_resolver()
    quitter, *others = [start(resolver.mx("a.example")) for _ in range(5)]
    quitter.addErrback(lambda failure: failure.trap(defer.CancelledError))
    quitter.cancel()
    assert len(client.asked) == 1
    client.asked[0][2].callback(([], [], []))
    assert [result_of(other) for other in others] == [[]] * 4


def test_no_more_than_128_questions_at_once():
    """A flood of new domains cannot flood the name server."""
    client, _, resolver = held_resolver()
    waiting = [start(resolver.mx(f"d{number}.example")) for number in range(MAX_CONCURRENT + 10)]
    assert len(client.asked) == MAX_CONCURRENT
    client.asked[0][2].callback(([], [], []))
    assert len(client.asked) == MAX_CONCURRENT + 1
    for _ in range(20):
        for *_, answer in list(client.asked):
            if not answer.called:
                answer.callback(([], [], []))
    assert all(result_of(one) == [] for one in waiting)


def test_one_family_failing_does_not_hide_the_other():
    """A server that chokes on AAAA does not make the host unreachable."""
    client, _, resolver = held_resolver()
    waiting = start(resolver.addresses("h.example"))
    client.asked[0][2].callback(([header("h.example", dns.Record_A("192.0.2.9"), 60)], [], []))
    client.asked[1][2].errback(error.DNSServerError())
    assert result_of(waiting) == ["192.0.2.9"]


def test_the_hosts_file_answers_first_and_is_read_again(tmp_path):
    """Names in /etc/hosts work as everywhere else on the machine."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost sink # local\n::1 sink\n")
    client, _, resolver = held_resolver(str(hosts))
    assert result_of(start(resolver.addresses("SINK"))) == ["127.0.0.1", "::1"]
    assert result_of(start(resolver.addresses("sink", "Ipv6Only"))) == ["::1"]
    assert client.asked == []
    assert parse_hosts(hosts.read_text())["localhost"] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("name", "ascii_form"), [("Bücher.example", "xn--bcher-kva.example"), ("A.B.", "a.b"), ("_dmarc.x", "_dmarc.x")]
)
def test_names_are_asked_for_in_their_ascii_form(name, ascii_form):
    """International domains are looked up by their A-labels (RFC 5891)."""
    assert ascii_name(name) == ascii_form


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64 + ".com", "a." * 130, "\u2028x\u2028"])
def test_what_is_no_name_is_refused(name):
    """A nonsense domain fails for good and never reaches a name server."""
    with pytest.raises(ResolveError) as caught:
        ascii_name(name)
    assert caught.value.permanent


def test_the_static_resolver_keeps_the_contract():
    """Tests and policies get the same answers from a zone as from the network."""
    resolver = StaticResolver(parse_zone(ZONE), failing=["broken.example.com"])
    assert result_of(start(resolver.mx("example.com"))) == [
        MxRecord(10, "mx1.example.com"),
        MxRecord(20, "mx2.example.net"),
    ]
    assert result_of(start(resolver.addresses("www.example.com"))) == ["192.0.2.1", "2001:db8::1"]
    assert result_of(start(resolver.txt("txt.example.com"))) == ["v=spf1 -all; really"]
    assert result_of(start(resolver.mx("null.example.com"))) == [MxRecord(0, "")]
    assert result_of(start(resolver.mx("mx1.example.com"))) == []
    assert result_of(start(resolver.ptr("192.0.2.1"))) == ["mx1.example.com"]
    for name, permanent in (("nowhere.example", True), ("broken.example.com", False)):
        with pytest.raises(ResolveError) as caught:
            result_of(start(resolver.mx(name)))
        assert caught.value.permanent is permanent


def test_a_zone_line_that_is_no_record_is_named():
    """A typo in a test zone says which line is wrong."""
    with pytest.raises(ValueError, match="not a record"):
        parse_zone("example.com.")


class ZoneAuthority(ResolverBase):
    """Serves a few records over the wire, for the real client to ask."""

    def _lookup(self, name, cls, kind, timeout):
        answers = {
            (b"real.example", dns.MX): [header("real.example", dns.Record_MX(5, "mx.real.example"), 60)],
            (b"mx.real.example", dns.A): [header("mx.real.example", dns.Record_A("192.0.2.77"), 60)],
            (b"mx.real.example", dns.AAAA): [header("mx.real.example", dns.Record_AAAA("2001:db8::77"), 60)],
            (b"real.example", dns.TXT): [header("real.example", dns.Record_TXT(b"one ", b"two"), 60)],
            (b"1.2.0.192.in-addr.arpa", dns.PTR): [header("x", dns.Record_PTR("back.example"), 60)],
        }.get((name.lower(), kind))
        return defer.succeed((answers, [], [])) if answers else defer.fail(error.DNSNameError())


@pytest_twisted.ensureDeferred
async def test_real_questions_over_udp():
    """twisted.names on a real socket gives what the contract says."""
    factory = server.DNSServerFactory(clients=[ZoneAuthority()])
    factory.noisy = False
    protocol = dns.DNSDatagramProtocol(factory)
    protocol.noisy = False
    port = reactor.listenUDP(0, protocol, "127.0.0.1")
    try:
        client = system_client(reactor, [("127.0.0.1", port.getHost().port)])
        assert isinstance(client, names_client.Resolver)
        resolver = CachingResolver(client, reactor, None)
        assert await resolver.mx("real.example") == [MxRecord(5, "mx.real.example")]
        assert await resolver.addresses("mx.real.example") == ["192.0.2.77", "2001:db8::77"]
        assert await resolver.txt("real.example") == ("one two",)
        assert await resolver.ptr("192.0.2.1") == ["back.example"]
        with pytest.raises(ResolveError) as caught:
            await resolver.mx("gone.example")
        assert caught.value.permanent
    finally:
        await port.stopListening()

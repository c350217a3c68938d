"""Mail exchangers, candidates and site names."""

import pytest
from twisted.internet import defer

from kumotwist.config.queue import MxHost
from kumotwist.core.errors import ResolveError
from kumotwist.net.dns import StaticResolver
from kumotwist.net.mx import Candidate, candidates, exchangers, listed_candidates, listed_site, site_name
from kumotwist.net.zone import parse_zone

RESOLVER = StaticResolver(
    parse_zone("""
$ORIGIN ex.test.
@     MX 20 b
      MX 10 a2
      MX 10 A1
a1    A 192.0.2.1
      AAAA 2001:db8::1
a2    A 192.0.2.2
b     A 192.0.2.3
plain A 192.0.2.4
null  MX 0 .
half  MX 10 gone
      MX 20 b
""")
)


def now(coroutine):
    seen = []
    defer.Deferred.fromCoroutine(coroutine).addBoth(seen.append)
    if hasattr(seen[0], "raiseException"):
        seen[0].raiseException()
    return seen[0]


def plan(domain, strategy="Ipv4AndIpv6", shuffle=lambda _: None):
    return now(candidates(RESOLVER, now(exchangers(RESOLVER, domain)), strategy, shuffle))


def test_hosts_are_tried_by_preference():
    """RFC 5321 s5.1: the lowest preference number first, in random order within one."""
    assert [one.address for one in plan("ex.test")] == ["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"]
    turned = plan("ex.test", shuffle=lambda found: found.reverse())
    assert [one.address for one in turned] == ["192.0.2.2", "2001:db8::1", "192.0.2.1", "192.0.2.3"]
    assert plan("ex.test")[0].name == "a1.ex.test."


def test_the_address_family_can_be_chosen():
    """`ip_lookup_strategy` decides between IPv4 and IPv6."""
    assert [one.address for one in plan("ex.test", "Ipv6Only")] == ["2001:db8::1"]


def test_a_domain_without_mx_is_its_own_exchanger():
    """RFC 5321 s5.1: the implicit MX."""
    found = now(exchangers(RESOLVER, "Plain.ex.test"))
    assert found.site == "plain.ex.test"
    assert not found.is_mx
    assert [one.address for one in plan("plain.ex.test")] == ["192.0.2.4"]


def test_a_null_mx_is_recognized():
    """RFC 7505: a domain that takes no mail says so."""
    assert now(exchangers(RESOLVER, "null.ex.test")).is_null
    assert plan("null.ex.test") == []


def test_hosts_that_do_not_resolve_are_left_out():
    """One dead name among the exchangers does not stop the mail."""
    assert [one.name for one in plan("half.ex.test")] == ["b.ex.test."]


@pytest.mark.parametrize(
    ("domain", "address", "port", "site"),
    [
        ("[192.0.2.9]", "192.0.2.9", None, "192.0.2.9"),
        ("[192.0.2.9:2525]", "192.0.2.9", 2525, "192.0.2.9:2525"),
        ("[192.0.2.9]:2525", "192.0.2.9", 2525, "192.0.2.9:2525"),
        ("[IPv6:2001:db8::9]", "2001:db8::9", None, "2001:db8::9"),
        ("[ipv6:2001:db8::9]:26", "2001:db8::9", 26, "2001:db8::9:26"),
    ],
)
def test_domain_literals_need_no_lookup(domain, address, port, site):
    """`[ip]` goes straight to the address."""
    found = now(exchangers(RESOLVER, domain))
    assert (found.literal, found.port, found.site) == (address, port, site)
    assert plan(domain) == [Candidate(address, address, port)]


@pytest.mark.parametrize(
    "domain", ["[", "[x]", "[192.0.2.1]x", "[192.0.2.1:0]", "ex.test:port", "ex.test:99999", "[1:2]"]
)
def test_a_broken_literal_or_port_fails_for_good(domain):
    """A mistyped literal is an error that waiting does not mend."""
    with pytest.raises(ResolveError) as caught:
        now(exchangers(RESOLVER, domain))
    assert caught.value.permanent


def test_a_port_behind_the_domain_holds_for_all_hosts():
    """`domain:port` as a routing domain sets the port."""
    assert {one.port for one in plan("ex.test:2525")} == {2525}
    assert now(exchangers(RESOLVER, "ex.test:2525")).site.endswith(":2525")


def test_an_mx_list_keeps_its_order():
    """`mx_list` entries are tried as written."""
    entries = ("b.ex.test:26", "[192.0.2.8]", MxHost("named", "192.0.2.7:2525"), MxHost("s", "/run/lmtp"), "a1.ex.test")
    found = now(listed_candidates(RESOLVER, entries, "Ipv4Only"))
    assert found == [
        Candidate("b.ex.test", "192.0.2.3", 26),
        Candidate("192.0.2.8", "192.0.2.8"),
        Candidate("named", "192.0.2.7", 2525),
        Candidate("s", "/run/lmtp"),
        Candidate("a1.ex.test", "192.0.2.1"),
    ]
    assert listed_site(entries).startswith("mx_list:b.ex.test:26,[192.0.2.8],192.0.2.7:2525,")
    assert [one.at(25) for one in found[2:4]] == ["named/192.0.2.7:25", "s//run/lmtp"]


@pytest.mark.parametrize("entry", ["gone.ex.test", MxHost("n", "host"), "[300.0.0.1]"])
def test_a_wrong_mx_list_entry_is_named(entry):
    """The error says which entry of the list is wrong."""
    with pytest.raises(ResolveError, match=r"gone\.ex\.test|host|300"):
        now(listed_candidates(RESOLVER, [entry]))


@pytest.mark.parametrize(
    ("hosts", "site"),
    [
        (["mx.ex.test."], "mx.ex.test"),
        (["mx1.ex.test.", "mx2.ex.test."], "(mx1|mx2).ex.test"),
        (
            ["gmail-smtp-in.l.google.com.", *(f"alt{n}.gmail-smtp-in.l.google.com." for n in (1, 2, 3, 4))],
            "(alt1|alt2|alt3|alt4)?.gmail-smtp-in.l.google.com",
        ),
        (["a.x.org.", "a.y.net."], "a.(x|y).(org|net)"),
    ],
)
def test_site_names(hosts, site):
    """Domains with the same exchangers share one site, named as KumoMTA names it."""
    assert site_name(hosts) == site


def test_an_ipv4_address_needs_no_brackets():
    """`127.0.0.1:2525` is what everybody writes first, and no host can be called so."""
    assert now(listed_candidates(RESOLVER, ["192.0.2.7:2525"])) == [Candidate("192.0.2.7", "192.0.2.7", 2525)]

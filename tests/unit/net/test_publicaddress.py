"""URLs that strangers choose lead to the public Internet or nowhere."""

import pytest
from pytest_twisted import ensureDeferred
from support.webpeer import turn, web_peer
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IReactorPluggableNameResolver
from zope.interface import directlyProvides

from kumotwist.net.http import HttpError, HttpRequest, HttpSettings, HttpTransports
from kumotwist.net.publicaddress import is_public, private_host


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
        "224.0.0.1",
        *("255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:169.254.169.254"),
        *("::127.0.0.1", "::169.254.169.254", "fec0::1", "64:ff9b:1::7f00:1", "5f00::1", "100::1", "2001:db8::1"),
    ],
)  # fmt: skip
def test_what_is_ours_or_nobodys_is_not_public(address):
    """Loopback, private networks, link-local with the clouds' metadata, and all of them in IPv6 clothes."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "::ffff:93.184.216.34"]
)
def test_what_is_public_is(address):
    """The rest of the world."""
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://169.254.169.254/latest", "169.254.169.254"),
        ("http://me:s3cret@127.0.0.1:9/x", "127.0.0.1"),
        ("http://127.1/", "127.1"),
        ("http://0x7f.1:9/", "0x7f.1"),
        ("http://2130706433/", "2130706433"),
        ("http://[::ffff:10.0.0.1]/", "::ffff:10.0.0.1"),
        ("http://[fe80::1%25eth0]/", "fe80::1%25eth0"),
        ("http://LOCALHOST./", "localhost"),
        ("http://app.localhost/", "app.localhost"),
        ("http://93.184.216.34/", None),
        ("http://[2606:2800:220:1::1]:8080/", None),
        ("http://1572395042/", None),
        ("http://inner.example/", None),
        ("http://10.0.0.1.example/", None),
        ("http://notlocalhost/", None),
        ("http://[::1/", None),
        ("not a url", None),
    ],
)
def test_what_a_url_says_of_itself(url, host):
    """An address in any notation is as private tomorrow as it is today; a name may change its mind."""
    assert private_host(url) == host


class Resolver:
    """The reactor with a name service of its own; counts what it is asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0
        self.nameResolver = self
        directlyProvides(self, IReactorPluggableNameResolver)

    def __getattr__(self, name):
        return getattr(reactor, name)

    def resolveHostName(self, receiver, host, port=0, *_, **__):
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        receiver.resolutionBegan(None)
        receiver.addressResolved(IPv4Address("TCP", answer, port))
        receiver.resolutionComplete()


async def fetch(url, transports, **settings):
    client = transports.client(HttpSettings(timeout=5, allow_private=False, **settings))
    try:
        return await client.send(HttpRequest(b"POST", url, (), b"{}"))
    finally:
        await transports.close()
        await turn()


@pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1", "[::1]", "2130706433", "0x7f.1", "localhost"])
@ensureDeferred
async def test_a_private_address_is_refused_however_it_is_written(host):
    """A webhook to the cloud's metadata service or to ourselves is not sent."""
    async with web_peer() as peer:
        port = peer.url.rpartition(":")[2]
        with pytest.raises(HttpError) as caught:
            await fetch(f"http://{host}:{port}/latest/meta-data", HttpTransports(reactor))
        assert not caught.value.was_sent
        assert not peer.seen


@ensureDeferred
async def test_a_name_that_leads_to_a_private_address_is_refused():
    """DNS of somebody else's may say anything."""
    with pytest.raises(HttpError, match="not on the public Internet"):
        await fetch("http://innocent.example/", HttpTransports(Resolver("169.254.169.254")))


@ensureDeferred
async def test_the_address_that_was_judged_is_the_one_that_is_used():
    """DNS rebinding: a second look-up would say 127.0.0.1, but there is none."""
    resolver = Resolver("93.184.216.34", "127.0.0.1")
    async with web_peer() as peer:
        port = peer.url.rpartition(":")[2]
        with pytest.raises(HttpError):
            await fetch(f"http://rebinding.example:{port}/", HttpTransports(_Unreachable(resolver)))
        assert resolver.asked == 1
        assert not peer.seen


class _Unreachable(Resolver):
    """Refuses every connection but to ourselves, so that nothing leaves the machine."""

    def __init__(self, resolver):
        super().__init__("0.0.0.0")
        self.nameResolver = resolver

    def connectTCP(self, host, port, factory, **options):
        return reactor.connectTCP("127.0.0.1", 9, factory, **options)


@ensureDeferred
async def test_a_redirect_into_a_private_network_is_not_followed(monkeypatch):
    """The first hop is public, the second is not."""
    async with web_peer() as peer:
        port = peer.url.rpartition(":")[2]
        peer.answer("/hook", 307, b"", Location=f"http://169.254.169.254:{port}/latest/meta-data")
        real = is_public
        monkeypatch.setattr(
            "kumotwist.net.publicaddress.is_public", lambda address: address == "127.0.0.1" or real(address)
        )
        with pytest.raises(HttpError, match=r"169\.254\.169\.254.* not on the public Internet"):
            await fetch(f"{peer.url}/hook", HttpTransports(reactor), max_redirects=5)
        assert [seen.uri for seen in peer.seen] == ["/hook"]

"""SMTP through a SOCKS5 proxy: real ones, and one that binds to the address that it is to send from."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import pytest_twisted
import trustme
from OpenSSL import SSL
from support.fakes_egress import make_channels, make_message, make_request
from support.ports import unused_port
from support.proxies import BindingProxy, microsocks
from support.scripted_smtp import ScriptedSmtp
from twisted.internet import reactor

from kumotwist.config.egress import SourceConfig
from kumotwist.config.keysource import FileKey, LiteralKey
from kumotwist.config.queue import MxHost, SmtpProtocol
from kumotwist.config.structure import structure
from kumotwist.core.errors import ConfigError, ConnectFailed
from kumotwist.core.outcome import Outcome, Verdict

CA = trustme.CA()
ROOTS = (CA.cert_pem.bytes(),)


async def deliver(server: ScriptedSmtp, source: SourceConfig, **path: object) -> Outcome:
    """The outcome of one message."""
    protocol = SmtpProtocol(mx_list=(MxHost("mx.dest.test", f"127.0.0.1:{server.port}"),))
    channel = make_channels(reactor, roots=ROOTS).channel_for(protocol)
    session = channel.open(make_request(source=source, **{"enable_tls": "Disabled", **path}))
    try:
        await session.connect()
        ((outcome,),) = await session.deliver([make_message()])
    finally:
        await session.close()
    return outcome


async def refusal(server: ScriptedSmtp, source: SourceConfig, **path: object) -> str:
    """What the response says when there is no connection."""
    with pytest.raises(ConnectFailed) as caught:
        await deliver(server, source, **path)
    return str(caught.value.outcome.response.content)


def proxied(port: int, **options: Any) -> SourceConfig:
    """A source behind the proxy at that port."""
    return SourceConfig(name="ip-1", socks5_proxy_server=f"127.0.0.1:{port}", **options)


@pytest_twisted.ensureDeferred
async def test_mail_goes_through_any_proxy() -> None:
    """One that knows RFC 1928 and no more, and TLS with the peer behind it; the record names the proxy."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    CA.issue_cert("mx.dest.test").configure_cert(context)
    with microsocks() as port:
        async with ScriptedSmtp(context=context).start(reactor) as server:
            outcome = await deliver(server, proxied(port), enable_tls="Required")
            assert outcome.verdict is Verdict.DELIVERED
            assert outcome.peer is not None
            assert outcome.peer.tls_protocol_version == "TLSv1.3"
            assert outcome.peer.proxy == f"127.0.0.1:{port}"
            assert outcome.peer.addr == "127.0.0.1"
            assert len(server.messages) == 1


@pytest_twisted.ensureDeferred
async def test_a_proxy_may_want_to_know_who_we_are() -> None:
    """The password comes from any key source; a wrong one, and one that cannot be had, are told without it."""
    with microsocks("-u", "ann", "-P", "hush") as port:
        async with ScriptedSmtp().start(reactor) as server:
            login = {"socks5_proxy_username": "ann", "socks5_proxy_password": LiteralKey(b"hush\n")}
            assert (await deliver(server, proxied(port, **login))).verdict is Verdict.DELIVERED
            login["socks5_proxy_password"] = LiteralKey(b"shush")
            told = await refusal(server, proxied(port, **login))
            assert f"via SOCKS5 proxy server 127.0.0.1:{port}: " in told
            assert "hush" not in told
            login["socks5_proxy_password"] = FileKey("/nowhere")
            assert "/nowhere" in await refusal(server, proxied(port, **login))
            assert "it wants another way to log in" in await refusal(server, proxied(port))
            assert len(server.messages) == 1


@pytest_twisted.ensureDeferred
async def test_the_proxy_sends_from_the_address_that_it_is_told() -> None:
    """As KumoMTA's proxy does; the record has the address, and the port that the proxy used."""
    with BindingProxy(refuses=["127.0.0.66"]) as proxy:
        async with ScriptedSmtp().start(reactor) as server:
            outcome = await deliver(server, proxied(proxy.port, socks5_proxy_source_address="127.0.0.9"))
            assert outcome.verdict is Verdict.DELIVERED
            assert outcome.peer is not None
            assert outcome.peer.source_address is not None
            host, _, port = outcome.peer.source_address.rpartition(":")
            assert (host, int(port) > 0) == ("127.0.0.9", True)
            assert proxy.asked == ["127.0.0.9"]
            told = await refusal(server, proxied(proxy.port, socks5_proxy_source_address="127.0.0.66"))
            assert "cannot bind to 127.0.0.66: connection refused" in told


@pytest_twisted.ensureDeferred
async def test_a_proxy_that_cannot_bind_sends_nothing() -> None:
    """Mail never leaves from another address than it was to leave from."""
    with microsocks() as port:
        async with ScriptedSmtp().start(reactor) as server:
            told = await refusal(server, proxied(port, socks5_proxy_source_address="127.0.0.9"))
            assert "cannot bind to 127.0.0.9: command not supported" in told
            assert server.messages == []


@pytest_twisted.ensureDeferred
async def test_trouble_with_the_proxy_is_told() -> None:
    """It is away, is none, is silent, or cannot reach the peer: each in words, within the connect timeout."""
    async with ScriptedSmtp().start(reactor) as server:
        assert "connection refused" in await refusal(server, proxied(unused_port()), connect_timeout=5)
        # A peer that says 220 at once is no proxy.
        assert "does not speak SOCKS5" in await refusal(server, proxied(server.port), connect_timeout=5)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            told = await refusal(server, proxied(silent.getsockname()[1]), connect_timeout=0.2)
            assert "via SOCKS5 proxy server" in told
    with microsocks() as port:
        told = await refusal(ScriptedSmtp(port=unused_port()), proxied(port), connect_timeout=5)
        assert "cannot connect: connection refused" in told


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"socks5_proxy_server": "proxy"}, "'socks5_proxy_server' must be like '10.0.0.1:5000', got 'proxy'"),
        ({"socks5_proxy_server": "::1:80"}, "'socks5_proxy_server' must be like"),
        ({"socks5_proxy_server": "a:70000"}, "'socks5_proxy_server' must be like"),
        ({"socks5_proxy_source_address": "mx1"}, "'socks5_proxy_source_address' must be an IP address, got 'mx1'"),
    ],
)
def test_wrong_options_are_told(given: dict[str, object], error: str) -> None:
    """When the policy is read, not when mail goes out."""
    with pytest.raises(ConfigError, match=error):
        structure(SourceConfig, {"name": "x", **given}, "kumo.make_egress_source")
    structure(SourceConfig, {"name": "x", "socks5_proxy_server": "[::1]:5000"}, "kumo.make_egress_source")

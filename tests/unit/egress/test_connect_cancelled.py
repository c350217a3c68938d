"""A connection that is given up before it is there is no failure of the peer's."""

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock

from kumotwist.config.egress import SourceConfig
from kumotwist.egress import sources
from kumotwist.net import http2connect
from kumotwist.net.http2 import Http2Settings
from kumotwist.net.tls_client import ClientTls


@pytest.mark.parametrize("proxy", [None, "127.0.0.1:1080"])
def test_a_connect_that_is_cancelled(proxy):
    """A stop, or a bind that takes too long, ends a connect as cancelled: nothing is logged or tried again for it."""
    reactor = MemoryReactorClock()
    source = SourceConfig(name="s", socks5_proxy_server=proxy)
    work = Deferred.fromCoroutine(sources.connect(reactor, Protocol(), "192.0.2.1", 25, source, 60.0, None))
    work.cancel()
    failures = []
    work.addErrback(failures.append)
    assert failures
    assert failures[0].check(CancelledError)


def test_a_connect_to_an_http2_server_that_is_cancelled():
    """The same for push services."""
    reactor = MemoryReactorClock()
    destination = http2connect.Destination(host="192.0.2.1", port=443, timeout=60.0)
    work = Deferred.fromCoroutine(http2connect.connect(reactor, reactor, ClientTls(), destination, Http2Settings()))
    reactor.advance(0)
    work.cancel()
    failures = []
    work.addErrback(failures.append)
    assert failures
    assert failures[0].check(CancelledError)

"""TLS contexts for the ways in."""

from __future__ import annotations

import pytest
import trustme
from support.fakes_intake import FakeKeys
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kumotwist.config.keysource import LiteralKey
from kumotwist.core.errors import ConfigError, SecretUnavailable
from kumotwist.net.tls import CONTEXT_TTL, ContextSources, Identity, ServerTls, self_signed, server_context


def wait_for(coroutine):
    results = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


@pytest.fixture(scope="module")
def pem():
    leaf = trustme.CA().issue_cert("mx.test")
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    return chain, leaf.private_key_pem.bytes()


def test_self_signed_certificate_works():
    """Without a certificate the daemon makes one; also for a name that is not ASCII."""
    for name in ("mx.test", "bücher.example", "x" * 70 + ".example"):
        assert server_context(self_signed(name)).getContext()


def test_contexts_are_kept_and_renewed(pem):
    """A certificate is read again after 300 s, so a renewed one is taken up."""
    clock, keys = Clock(), FakeKeys()
    tls = ServerTls(keys, clock)
    sources = ContextSources(LiteralKey(pem[0]), LiteralKey(pem[1]), None, "mx.test")
    assert tls.ready(sources) is None
    first = wait_for(tls.context(sources))
    assert tls.ready(sources) is first
    assert keys.loads == 2
    clock.advance(CONTEXT_TTL)
    assert tls.ready(sources) is None
    assert wait_for(tls.context(sources)) is not first


def test_one_file_with_key_and_chain(pem):
    """A PEM file that holds key and chain needs no second option."""
    sources = ContextSources(LiteralKey(pem[1] + pem[0]), None, None, "mx.test")
    assert wait_for(ServerTls(FakeKeys(), Clock()).context(sources))


def test_failed_renewal_keeps_the_last(pem):
    """When the key cannot be read any more, the last certificate stays in use."""

    class Failing(FakeKeys):
        fails = False

        async def load(self, source):
            if Failing.fails:
                raise SecretUnavailable("vault is down")
            return await super().load(source)

    clock = Clock()
    tls = ServerTls(Failing(), clock)
    sources = ContextSources(LiteralKey(pem[0]), LiteralKey(pem[1]), None, "mx.test")
    first = wait_for(tls.context(sources))
    Failing.fails = True
    clock.advance(CONTEXT_TTL + 1)
    assert wait_for(tls.context(sources)) is first
    with pytest.raises(SecretUnavailable):
        wait_for(tls.context(ContextSources(LiteralKey(b"other"), None, None, "mx.test")))


def test_wrong_pem_is_named_without_the_key(pem):
    """A key that does not belong to the certificate is an error that does not quote it."""
    other = trustme.CA().issue_cert("other.test").private_key_pem.bytes()
    for identity in (Identity(pem[0], other), Identity(b"", pem[1]), Identity(pem[0], b"junk-secret")):
        with pytest.raises(ConfigError) as error:
            server_context(identity)
        assert "junk-secret" not in str(error.value)
        assert "BEGIN" not in str(error.value)


def test_self_signed_is_kept_for_good():
    """Our own certificate stays the same while we run."""
    clock = Clock()
    tls = ServerTls(FakeKeys(), clock)
    sources = ContextSources(None, None, None, "mx.test")
    first = wait_for(tls.context(sources))
    clock.advance(1e9)
    assert wait_for(tls.context(sources)) is first

"""Mail comes in and goes out under TLS."""

from __future__ import annotations

import ssl

import pytest
import trustme
from support.daemon import SMTP_LISTENER, Daemon, Sink, eventually, mail, relay_policy


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certificate(directory, authority: trustme.CA, name: str):
    path = directory / f"{name}.pem"
    path.write_bytes(authority.issue_cert(name).private_key_and_cert_chain_pem.bytes())
    return path


def test_both_hops_are_encrypted(tmp_path, authority: trustme.CA) -> None:
    """STARTTLS with the operator's certificate on the way in, verified TLS on the way out; the log has the facts."""
    ours = certificate(tmp_path, authority, "mx.example")
    theirs = certificate(tmp_path, authority, "sink.example")
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(roots)
    listener = f"""kumo.start_esmtp_listener {{
      listen = '127.0.0.1:0', tls_certificate = '{ours}', tls_private_key = '{ours}',
    }}"""
    environment = {"SSL_CERT_FILE": str(roots)}
    with Sink(tmp_path, certificate=theirs) as sink:
        policy = relay_policy(tmp_path, sink.port, listener, enable_tls="Required")
        with Daemon(tmp_path, policy, env=environment) as daemon:
            with daemon.smtp() as client:
                client.starttls(context=_context(roots))
                client.sendmail("a@example.com", ["b@example.org"], mail("sealed"))
            (arrived,) = sink.wait_for(1)
            (delivery,) = daemon.wait_for_records("Delivery", 1)
            (reception,) = daemon.records("Reception")
    assert arrived["tls"]
    assert "ESMTPS" in arrived["data"]
    assert delivery["tls_protocol_version"].startswith("TLSv1.")
    assert reception["tls_cipher"]


def test_without_a_certificate_one_is_made(tmp_path) -> None:
    """A listener without certificate offers STARTTLS with a self-signed one."""
    with Sink(tmp_path) as sink, Daemon(tmp_path, relay_policy(tmp_path, sink.port, SMTP_LISTENER)) as daemon:
        with daemon.smtp() as client:
            client.starttls(context=_context(None))
            client.sendmail("a@example.com", ["b@example.org"], mail("sealed"))
        sink.wait_for(1)


def test_a_certificate_that_is_none_is_told_at_the_start(tmp_path) -> None:
    """The log names the listener before a client asks; STARTTLS is refused, and mail without it is taken."""
    listener = f"""kumo.start_esmtp_listener {{
      listen = '127.0.0.1:0', tls_certificate = '{tmp_path}/none.pem', tls_private_key = '{tmp_path}/none.pem',
    }}"""
    with Sink(tmp_path) as sink, Daemon(tmp_path, relay_policy(tmp_path, sink.port, listener)) as daemon:
        told = "the listener on 127.0.0.1:0 refuses STARTTLS as long as this lasts: "
        eventually(lambda: daemon.process and told in daemon.process.text(), "the listener is named in the log")
        with daemon.smtp() as client:
            assert client.docmd("STARTTLS") == (454, b"4.7.0 TLS not available")
            client.sendmail("a@example.com", ["b@example.org"], mail("open"))
        sink.wait_for(1)


def test_a_wrong_certificate_keeps_the_message_here(tmp_path, authority: trustme.CA) -> None:
    """A peer that cannot prove its name gets nothing when TLS is required."""
    theirs = certificate(tmp_path, authority, "other.example")
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(roots)
    with Sink(tmp_path, certificate=theirs) as sink:
        policy = relay_policy(tmp_path, sink.port, enable_tls="Required")
        with Daemon(tmp_path, policy, env={"SSL_CERT_FILE": str(roots)}) as daemon:
            with daemon.smtp() as client:
                client.sendmail("a@example.com", ["b@example.org"], mail("sealed"))
            (failure, *_) = daemon.wait_for_records("TransientFailure", 1)
            assert not sink.messages()
    assert "failed to connect to any candidate hosts" in failure["response"]["content"]


def _context(roots) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=roots)
    context.check_hostname = False
    if roots is None:
        context.verify_mode = ssl.CERT_NONE
    return context

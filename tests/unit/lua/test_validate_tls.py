"""`kumotwist validate` looks at the certificates and keys that a policy names, before a client does."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from support.lua import Bench, now

from kumotwist.lua.validate import Report, validate

DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def key():
    """A private key."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate(key, clock, begins=-DAY, ends=90 * DAY, name="mx.example.com") -> bytes:
    """A certificate, PEM, valid as long from the clock's time."""
    moment = dt.datetime.fromtimestamp(clock.seconds(), dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(moment + begins).not_valid_after(moment + ends)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def pem(key, passphrase: bytes | None = None) -> bytes:
    """A private key as PEM."""
    protection = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def checked(bench: Bench, options: str) -> Report:
    """What is said of a listener with these options, in a policy whose `init` stands in line 2."""
    bench.write(f"\nkumo.on('init', function() kumo.start_esmtp_listener {{ listen = '127.0.0.1:25', {options} }} end)")
    return now(validate(bench.path, bench.services))


def written(bench: Bench, **files: bytes) -> str:
    """Options that name these files, written beside the policy."""
    for name, octets in files.items():
        (bench.path.parent / f"{name}.pem").write_bytes(octets)
    return ", ".join(f"{name} = '{bench.path.parent / name}.pem'" for name in files)


def test_a_certificate_and_its_key_are_fine(bench, key):
    """In two files, in one, and with the key in the policy."""
    chain = certificate(key, bench.clock)
    assert checked(bench, written(bench, tls_certificate=chain, tls_private_key=pem(key))) == Report()
    assert checked(bench, written(bench, tls_certificate=chain + pem(key))) == Report()
    literal = f"tls_private_key = {{ key_data = [[{pem(key).decode()}]] }}"
    assert checked(bench, f"{written(bench, tls_certificate=chain)}, {literal}") == Report()


def test_a_file_that_is_not_there_is_an_error_with_its_name_and_line(bench, key):
    """As a daemon would say at the first client, or not start for."""
    options = written(bench, tls_certificate=certificate(key, bench.clock)) + ", tls_private_key = '/nowhere/key.pem'"
    (error,) = checked(bench, options).errors
    expected = (
        "policy.lua:2: kumo.start_esmtp_listener on 127.0.0.1:25: tls_private_key: /nowhere/key.pem: No such file"
    )
    assert expected in error


def test_files_that_do_not_go_together_are_errors(bench, key):
    """Each with what is wrong with it; never with a word of the key."""
    other, chain = ec.generate_private_key(ec.SECP256R1()), certificate(key, bench.clock)
    cases = {
        "does not belong to the certificate of CN=mx.example.com": (chain, pem(other)),
        "must be the first of tls_certificate": (certificate(other, bench.clock) + chain, pem(key)),
        "holds no private key in PEM form": (chain, b"-----BEGIN PRIVATE KEY-----\nno\n-----END PRIVATE KEY-----\n"),
        "protected by a passphrase": (chain, pem(key, b"secret")),
        "tls_certificate holds no certificate in PEM form": (b"", pem(key)),
    }
    for expected, (certificates, private) in cases.items():
        (error,) = checked(bench, written(bench, tls_certificate=certificates, tls_private_key=private)).errors
        assert expected in error
        assert f"{bench.path.parent}/tls_private_key.pem)" in error


@pytest.mark.parametrize(
    ("begins", "ends", "expected"),
    [
        (-90 * DAY, -DAY, "the certificate of CN=mx.example.com expired on "),
        (-90 * DAY, 13.5 * DAY, "the certificate of CN=mx.example.com expires on .*, in 13 days"),
        (DAY, 90 * DAY, "the certificate of CN=mx.example.com is not valid before "),
    ],
)
def test_an_expired_certificate_is_a_warning_and_so_is_one_that_soon_will_be(bench, key, begins, ends, expected):
    """Mail still flows: most senders do not look."""
    chain = certificate(key, bench.clock, begins, ends)
    report = checked(bench, written(bench, tls_certificate=chain, tls_private_key=pem(key)))
    assert report.is_valid
    (warning,) = report.warnings
    assert re.search(expected, warning)


def test_a_key_that_openssl_refuses_is_an_error(bench):
    """Too short for its security level."""
    short = rsa.generate_private_key(65537, 1024)
    chain = certificate(short, bench.clock)
    assert checked(bench, written(bench, tls_certificate=chain, tls_private_key=pem(short))).errors


def test_the_authority_of_clients_is_looked_at(bench, key):
    """A file without a certificate would let nobody in."""
    chain = certificate(key, bench.clock)
    options = written(bench, tls_certificate=chain, tls_private_key=pem(key), tls_required_client_ca=b"none")
    (error,) = checked(bench, options).errors
    assert "tls_required_client_ca holds no certificate" in error


def test_a_vault_is_not_asked_and_a_variable_that_is_not_set_is_a_warning(bench, key):
    """They may be there only where the daemon runs."""
    chain = certificate(key, bench.clock)
    options = f"tls_certificate = {{ key_data = [[{chain.decode()}]] }}"
    vault = "tls_private_key = { vault_mount = 'secret', vault_path = 'tls', vault_address = 'http://127.0.0.1:1' }"
    assert checked(bench, f"{options}, {vault}") == Report()
    (warning,) = checked(bench, options + ", tls_private_key = { env = 'NOT_SET_ANYWHERE' }").warnings
    assert "the environment variable NOT_SET_ANYWHERE is not set here" in warning


def test_a_key_from_an_event_of_the_policy_is_read(bench, key):
    """And what its handler fails with is said."""
    chain = certificate(key, bench.clock)
    (bench.path.parent / "chain.pem").write_bytes(chain)
    bench.write(f"""
      kumo.on('init', function()
        kumo.start_esmtp_listener {{ listen = '127.0.0.1:25', tls_certificate = '{bench.path.parent}/chain.pem',
          tls_private_key = {{ event_name = 'my.key' }} }}
      end)
      kumo.on('my.key', function() error 'no key today' end)
    """)
    (error,) = now(validate(bench.path, bench.services)).errors
    assert "no key today" in error


def test_the_certificate_of_a_client_is_looked_at_once(bench, key):
    """However many domains and sources have it."""
    chain = certificate(key, bench.clock)
    options = written(bench, tls_certificate=chain, tls_private_key=b"none")
    bench.write(f"""
      kumo.on('init', function() kumo.start_esmtp_listener {{ listen = '127.0.0.1:25' }} end)
      kumo.on('get_egress_path_config', function() return kumo.make_egress_path {{ {options} }} end)
    """)
    (error,) = now(validate(bench.path, bench.services)).errors
    assert "policy.lua:3: get_egress_path_config for example.com: tls_private_key holds no private key" in error


def test_half_of_a_clients_certificate_is_a_warning(bench, key):
    """Without its key it is not shown to anybody."""
    options = written(bench, tls_certificate=certificate(key, bench.clock))
    bench.write(f"""
      kumo.on('init', function() kumo.start_esmtp_listener {{ listen = '127.0.0.1:25' }} end)
      kumo.on('get_egress_path_config', function() return kumo.make_egress_path {{ {options} }} end)
    """)
    (warning,) = now(validate(bench.path, bench.services)).warnings
    assert "tls_certificate has no effect without tls_private_key" in warning


def test_an_https_listener_is_looked_at_and_a_plain_one_is_not(bench):
    """Its certificate would not be read."""
    for use_tls, count in (("true", 1), ("false", 0)):
        bench.write(f"""
          kumo.on('init', function()
            kumo.start_http_listener {{ use_tls = {use_tls}, tls_certificate = '/nowhere.pem' }}
          end)
        """)
        assert len(now(validate(bench.path, bench.services)).errors) == count


def test_a_file_that_is_too_large_is_an_error(bench, key):
    """It says so, rather than that half of it cannot be read; what the daemon just takes is looked at whole."""
    chain, private = certificate(key, bench.clock), pem(key)
    just = chain + b"\n" * ((1 << 20) - len(chain))
    assert checked(bench, written(bench, tls_certificate=just, tls_private_key=private)) == Report()
    (error,) = checked(bench, written(bench, tls_certificate=just + b"\n", tls_private_key=private)).errors
    assert re.search(r"tls_certificate: /.* is larger than 1048576 octets, which no key or certificate may be$", error)

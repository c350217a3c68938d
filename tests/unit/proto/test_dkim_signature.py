"""DKIM signatures, as another implementation checks them."""

from __future__ import annotations

import base64
import hashlib
import re

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st

from kumotwist.proto.dkim import Form, Terms, canonical_body, signature_header

RSA = rsa.generate_private_key(65537, 1024)
ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA_RECORD = b"v=DKIM1; k=rsa; p=" + base64.b64encode(
    RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)
ED25519_RECORD = b"v=DKIM1; k=ed25519; p=" + base64.b64encode(
    ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
)
MESSAGE = (
    b"Received: from a by b;\r\n\tMon, 1 Jan 2029 00:00:00 +0000\r\nFrom: Ann  <ann@example.com>\r\n"
    b"To: bob@example.org\r\n"
    b"Subject:  a long\r\n  subject \r\nX-Twice: one\r\nX-Twice: two\r\n\r\nHello \t there\r\n\r\n.dot\r\n\r\n\r\n"
)
FORMS: tuple[Form, ...] = ("relaxed", "simple")


def rsa_sign(text: bytes) -> bytes:
    return RSA.sign(text, padding.PKCS1v15(), SHA256())


def signed(message: bytes, *headers: str, header: Form = "relaxed", body: Form = "relaxed", **more: object) -> bytes:
    terms = Terms(
        algorithm="rsa-sha256",
        domain="example.com",
        selector="s1",
        headers=headers or ("From", "To", "Subject"),
        header_form=header,
        body_form=body,
        **more,  # type: ignore[arg-type]
    )
    return signature_header(message, terms, rsa_sign) + message


def is_good(message: bytes, record: bytes = RSA_RECORD) -> bool:
    return bool(dkim.verify(message, dnsfunc=lambda name, timeout=5: record))


@pytest.mark.parametrize("header", FORMS)
@pytest.mark.parametrize("body", FORMS)
def test_a_verifier_agrees(header: Form, body: Form) -> None:
    """With each canonical form of header and body (RFC 6376 s3.4)."""
    message = signed(MESSAGE, "From", "To", "Subject", "X-Twice", "Received", header=header, body=body)
    assert is_good(message)
    assert not is_good(message.replace(b"there", b"where"))
    assert not is_good(message.replace(b"a long", b"a short"))


def test_relaxed_survives_white_space_and_simple_does_not() -> None:
    """What relays do to blanks and folding harms only a `simple` signature."""
    for form, survives in (("relaxed", True), ("simple", False)):
        message = signed(MESSAGE, header=form, body=form)  # type: ignore[arg-type]
        assert is_good(message.replace(b"long\r\n  subject ", b"long subject")) == survives
        assert is_good(message.replace(b"Hello \t there", b"Hello there ")) == survives


def test_ed25519() -> None:
    """RFC 8463: the hash is what is signed."""
    terms = Terms(algorithm="ed25519-sha256", domain="example.com", selector="s1", headers=("From", "Subject"))
    header = signature_header(MESSAGE, terms, lambda text: ED25519.sign(hashlib.sha256(text).digest()))
    assert is_good(header + MESSAGE, ED25519_RECORD)
    assert not is_good(header + MESSAGE.replace(b"Hello", b"Hallo"), ED25519_RECORD)


def test_over_signing_keeps_headers_out() -> None:
    """Nobody can add a second From, or a Reply-To that was not there."""
    plain, over = (signed(MESSAGE, "From", "Reply-To", over_sign=flag) for flag in (False, True))
    assert b"h=From:From:Reply-To;" in over
    assert b"h=From:Reply-To;" in plain
    forged = b"From: Eve <eve@example.com>\r\n"
    assert is_good(plain)
    assert is_good(over)
    assert not is_good(over.replace(b"From: Ann", forged + b"From: Ann"))
    assert not is_good(over.replace(b"To: bob", b"Reply-To: eve@example.net\r\nTo: bob"))


def test_several_headers_of_a_name_are_taken_from_below() -> None:
    """RFC 6376 s5.4.2: a name listed once means the last such header, so one on top may still be added."""
    message = signed(MESSAGE, "From", "X-Twice")
    assert is_good(message.replace(b"X-Twice: one", b"X-Twice: new"))
    assert not is_good(message.replace(b"X-Twice: two", b"X-Twice: new"))


def test_the_length_of_the_body() -> None:
    """`l=` lets text be added behind it."""
    message = signed(MESSAGE, says_length=True)
    assert is_good(message)
    assert re.search(rb"\tl=\d+;", message)
    assert is_good(message + b"added by a list\r\n")


def test_line_ends_count_as_they_will_be_sent() -> None:
    """A message with bare LF is signed as the CRLF that SMTP makes of them."""
    header = signed(MESSAGE.replace(b"\r\n", b"\n"))[: -len(MESSAGE.replace(b"\r\n", b"\n"))]
    assert is_good(header + MESSAGE)


def test_no_line_is_long() -> None:
    """RFC 5322 s2.1.1, however many headers are signed."""
    names = ["From", *(f"X-Header-Number-{number}" for number in range(60))]
    message = signed(MESSAGE, *names)
    assert is_good(message)
    assert max(len(line) for line in message.split(b"\r\n")) <= 78


@pytest.mark.parametrize(
    ("body", "relaxed", "simple"),
    [
        (b"", b"", b"\r\n"),
        (b"\r\n\r\n", b"", b"\r\n"),
        (b" \r\n", b"", b" \r\n"),
        (b"a", b"a\r\n", b"a\r\n"),
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n", b" C \r\nD \t E\r\n"),
        (b"a\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n"),
    ],
)
def test_canonical_bodies(body: bytes, relaxed: bytes, simple: bytes) -> None:
    """The examples of RFC 6376 s3.4.5, and bodies of nothing."""
    assert (canonical_body(body, "relaxed"), canonical_body(body, "simple")) == (relaxed, simple)


@given(
    st.lists(st.sampled_from([b" ", b"\t", b"a", b"b:", b"\r\n", b"\xe4", b"=", b"\r\n "]), max_size=20),
    st.lists(st.sampled_from([b" ", b"\t", b"x", b".", b"\r\n", b"\xff"]), max_size=20),
    st.sampled_from(FORMS),
    st.sampled_from(FORMS),
)
@example([b"\r\n "], [b" "], "relaxed", "relaxed")
def test_any_message(value: list[bytes], body: list[bytes], header_form: Form, body_form: Form) -> None:
    """Whatever blanks, folds and octets stand in header and body, a verifier reads what we signed."""
    subject = b"".join(value).replace(b"\r\n", b"\r\n ").strip()
    message = b"From: a@example.com\r\nSubject: " + subject + b"\r\n\r\n" + b"".join(body) + b"\r\n"
    assert is_good(signed(message, header=header_form, body=body_form))

"""Tokens that we sign: another implementation believes them, and what is no key is refused without being quoted."""

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from kumotwist.core.errors import ConfigError
from kumotwist.proto.sign import base64url
from kumotwist.proto.sign.jwt import JwtKey

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


def pem(key, form=PrivateFormat.PKCS8, encryption=None):
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


@pytest.mark.parametrize(
    ("key", "form", "algorithm"),
    [
        (EC, PrivateFormat.PKCS8, "ES256"),
        (EC, PrivateFormat.TraditionalOpenSSL, "ES256"),
        (RSA, PrivateFormat.PKCS8, "RS256"),
        (RSA, PrivateFormat.TraditionalOpenSSL, "RS256"),
    ],
)
def test_another_implementation_believes_our_tokens(key, form, algorithm):
    """RFC 7515: PyJWT takes the token with the public key and finds our claims and key id."""
    token = JwtKey.load(pem(key, form), "K1").token({"iss": "me", "iat": 1_700_000_000})
    assert pyjwt.decode(token, key.public_key(), [algorithm]) == {"iss": "me", "iat": 1_700_000_000}
    assert pyjwt.get_unverified_header(token) == {"typ": "JWT", "alg": algorithm, "kid": "K1"}


def test_the_same_claims_make_the_same_token():
    """RFC 6979: workers that share a key share a token, and no random numbers can give the key away."""
    assert JwtKey.load(pem(EC)).token({"iat": 1}) == JwtKey.load(pem(EC)).token({"iat": 1})


def test_a_key_without_an_id_does_not_make_one_up():
    """Header `kid` is absent when there is none."""
    assert pyjwt.get_unverified_header(JwtKey.load(pem(EC)).token({})) == {"typ": "JWT", "alg": "ES256"}


@settings(max_examples=examples(200))
@given(st.integers(0, 2**63))
def test_halves_of_an_es256_signature_keep_their_leading_zeros(number):
    """RFC 7518 s3.4: 64 octets, whatever r and s are; one in 128 signatures starts with a zero."""
    token = JwtKey(EC).token({"n": number})
    assert len(base64url.decode(token.rpartition(".")[2])) == 64
    assert pyjwt.decode(token, EC.public_key(), ["ES256"]) == {"n": number}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"sekrit",
        b"-----BEGIN PRIVATE KEY-----\nsekrit\n-----END PRIVATE KEY-----\n",
        pem(EC, encryption=BestAvailableEncryption(b"sekrit")),
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(ed25519.Ed25519PrivateKey.generate()),
        pem(rsa.generate_private_key(65537, 1024)),
    ],
)
def test_what_is_no_key_is_refused_and_not_quoted(data):
    """An operator hears what is expected; the log never has a piece of a key."""
    with pytest.raises(ConfigError) as caught:
        JwtKey.load(data)
    assert "sekrit" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_key_does_not_show_itself():
    """A repr in a log gives nothing away."""
    assert repr(JwtKey(EC, "K1")) == "JwtKey(key_id='K1')"


@given(st.binary(max_size=200))
def test_base64url_goes_there_and_back(data):
    """RFC 4648 s5, with and without padding."""
    text = base64url.encode(data)
    assert base64url.decode(text) == data
    assert base64url.decode(text + "=" * (-len(text) % 4)) == data
    assert set(text).isdisjoint("+/=")


@pytest.mark.parametrize("text", ["a", "a+b/", "ab c", "ab\n", "QR", "é", "===="])
def test_what_is_no_base64url_is_refused(text):
    """There is one way to write some octets; anything else is a mistake somewhere."""
    with pytest.raises(ValueError, match="base64url"):
        base64url.decode(text)

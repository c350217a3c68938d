"""Vonage's Messages API as an application: tokens that Vonage can check."""

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from kumotwist.config.keysource import LiteralKey
from kumotwist.core.errors import ConfigError, SecretUnavailable
from kumotwist.core.outcome import Peer
from kumotwist.egress.api.credentials import secrets_of
from kumotwist.egress.api.judge import Judge
from kumotwist.egress.protocols import protocol
from kumotwist.egress.sms.vonage_messages import RULES, VonageMessages, VonageMessagesOptions
from kumotwist.net.http import HttpRequest

NOW = 1_700_000_000.0
REQUEST = HttpRequest(b"POST", "https://api.nexmo.com/v1/messages")


@pytest.fixture(scope="module")
def private_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def dialect(**more):
    options = VonageMessagesOptions(**more)
    return VonageMessages(options, Judge(Peer("gw", "gw", "HTTP"), RULES, 300.0, lambda: NOW))


def test_a_token_of_the_application_verifies(private_key):
    """RS256, with the application's id, and good for minutes only; another one for each request."""
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    vonage = dialect(application_id="app-1", private_key=LiteralKey(pem.encode()))
    assert set(secrets_of(vonage.options)) == {"private_key"}
    seen = set()
    for _ in range(2):
        headers = dict(vonage.authorize(REQUEST, {"private_key": pem.strip()}, NOW).headers)
        token = headers[b"Authorization"].decode().removeprefix("Bearer ")
        claims = jwt.decode(
            token, private_key.public_key(), algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
        )
        assert (claims["application_id"], claims["iat"]) == ("app-1", int(NOW))
        assert 0 < claims["exp"] - claims["iat"] <= 86400
        seen.add(claims["jti"])
    assert len(seen) == 2


def test_what_is_no_private_key_rests_the_source_and_does_not_show():
    """The wrong file in Vault costs no message, and its text appears nowhere."""
    vonage = dialect(application_id="app-1", private_key=LiteralKey(b"x"))
    with pytest.raises(SecretUnavailable) as caught:
        vonage.authorize(REQUEST, {"private_key": "hunter2"}, NOW)
    assert caught.value.permanent
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"application_id": "app-1"},
        {"api_key": "abcd1234"},
        {"application_id": "a", "private_key": "/etc/key", "api_key": "k", "api_secret": "/etc/secret"},
    ],
)
def test_one_way_to_log_in_must_be_whole(given):
    """Half a login, none or two are a mistake in the policy."""
    with pytest.raises(ConfigError, match="must have either"):
        protocol({"vonage_messages": given}, "test")

"""Access tokens: asked for once, shared, renewed in time and when refused; and what the authority refuses."""

import json
from urllib.parse import parse_qsl, urlencode

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pytest_twisted import ensureDeferred
from support.fakes_egress import FakeKeys
from support.webpeer import turn, web_peer
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from kumotwist.config.keysource import LiteralKey
from kumotwist.core.errors import SecretUnavailable
from kumotwist.egress.api.credentials import KeyCredentials
from kumotwist.egress.api.oauth import OAuthCredentials, client_credentials, service_account
from kumotwist.net.flight import SingleFlight
from kumotwist.net.http import HttpRequest, HttpSettings, HttpTransports
from kumotwist.net.tasks import Tasks

NOW = 1_800_000_000.0


class World:
    """Credentials of a channel, an authority that counts its tokens, and a clock."""

    def __init__(self, peer, grant=None, **secrets):
        self.peer = peer
        self.time = NOW
        self.transports, self.tasks, self.keys = HttpTransports(reactor), Tasks(), FakeKeys()
        given = secrets or {"client_secret": "s3cret"}
        sources = {name: LiteralKey(value.encode()) for name, value in given.items()}
        self.credentials = OAuthCredentials(
            self.transports.client(HttpSettings(timeout=5, max_redirects=0)),
            KeyCredentials(self.keys, sources),
            grant or client_credentials(f"{peer.url}/token", "app", "https://scope.example/.default"),
            lambda: self.time,
            SingleFlight(self.tasks.spawn, "access token"),
        )

    def give(self, code=200, **value):
        def answer(request):
            request.setResponseCode(code)
            return json.dumps({"access_token": f"t{len(self.peer.seen)}", "expires_in": 1000} | value).encode()

        self.peer.answers["/token"] = answer

    async def token(self):
        return (await self.credentials.get())["access_token"]

    async def close(self):
        await self.tasks.close()
        await self.transports.close()
        await turn()


@ensureDeferred
async def test_a_token_is_asked_for_once_and_renewed_before_it_expires():
    """A thousand messages at once are one request to the authority, and the next comes when nine tenths are over."""
    async with web_peer() as peer:
        world = World(peer)
        world.give()
        many = await gatherResults([Deferred.fromCoroutine(world.token()) for _ in range(100)])
        assert set(many) == {"t1"}
        world.time += 890
        assert await world.token() == "t1"
        world.time += 20
        assert await world.token() == "t2"
        assert dict(parse_qsl(peer.seen[0].body.decode())) == {
            "grant_type": "client_credentials",
            "client_id": "app",
            "scope": "https://scope.example/.default",
            "client_secret": "s3cret",
        }
        await world.close()


@ensureDeferred
async def test_a_token_that_was_refused_is_renewed_once_for_all():
    """Many sessions hear 401 at once: the first renews, the others use what it got."""
    async with web_peer() as peer:
        world = World(peer)
        world.give()
        refused = await world.credentials.get()
        for _ in range(5):
            assert await world.credentials.renew(refused)
        assert await world.token() == "t2"
        assert len(peer.seen) == 2
        await world.close()


@pytest.mark.parametrize(
    ("code", "permanent"), [(400, True), (401, True), (403, True), (429, False), (500, False), (200, False)]
)
@ensureDeferred
async def test_what_the_authority_refuses_is_told_without_the_secret(code, permanent):
    """Wrong secrets are somebody's to mend, an authority in trouble passes; the reason is the authority's own."""
    async with web_peer() as peer:
        world = World(peer)
        world.give(code, access_token=None, error="invalid_client", error_description="the secret expired")
        with pytest.raises(SecretUnavailable, match="the secret expired") as caught:
            await world.credentials.get()
        assert caught.value.permanent is permanent
        assert "s3cret" not in str(caught.value)
        await world.close()


@ensureDeferred
async def test_an_authority_that_repeats_the_secret_finds_no_echo():
    """Neither the secret nor an assertion made of one reaches a record by way of the authority's words."""

    def grant(secrets, _):
        body = urlencode({"client_secret": secrets["client_secret"], "assertion": "head.claims.signature"})
        return HttpRequest(b"POST", f"{peer.url}/token", body=body.encode())

    async with web_peer() as peer:
        world = World(peer, grant)
        world.give(400, access_token=None, error_description="s3cret and head.claims.signature are wrong")
        with pytest.raises(SecretUnavailable, match=r"400 \*\*\* and \*\*\* are wrong"):
            await world.credentials.get()
        await world.close()


@ensureDeferred
async def test_a_service_account_signs_for_itself():
    """The assertion is what Google asks for, and its signature verifies."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    async with web_peer() as peer:
        url = f"{peer.url}/token"
        account = {"client_email": "a@p.iam.example", "private_key": pem, "private_key_id": "k1", "token_uri": url}
        grant = service_account("https://scope.example/gmail.send", "ann@src.test")
        world = World(peer, grant, service_account=json.dumps(account))
        world.give()
        assert await world.token() == "t1"
        fields = dict(parse_qsl(peer.seen[0].body.decode()))
        assert fields["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        options = {"verify_exp": False, "verify_iat": False}
        claims = jwt.decode(fields["assertion"], key.public_key(), ["RS256"], audience=url, options=options)
        assert claims == {
            "iss": "a@p.iam.example",
            "sub": "ann@src.test",
            "scope": "https://scope.example/gmail.send",
            "aud": url,
            "iat": int(NOW),
            "exp": int(NOW) + 3600,
        }
        assert jwt.get_unverified_header(fields["assertion"])["kid"] == "k1"
        await world.close()


@pytest.mark.parametrize("text", ["not json", "{}", '{"client_email": "a", "private_key": "no key"}'])
@ensureDeferred
async def test_a_service_account_that_is_none_is_told_without_its_text(text):
    """The error names the secret and never quotes it."""
    async with web_peer() as peer:
        world = World(peer, service_account("scope"), service_account=text)
        with pytest.raises(SecretUnavailable, match="service_account") as caught:
            await world.credentials.get()
        assert caught.value.permanent
        assert text not in str(caught.value)
        await world.close()

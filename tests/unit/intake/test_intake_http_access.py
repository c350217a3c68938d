"""Who gets in: addresses, credentials, ACLs, in all combinations, over real sockets."""

import base64

import pytest
import pytest_twisted
from support.fakes_http import House, listen, simple
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from kumotwist.config.acl import AccessControlList, AclRule, IdentityIs, MachineIs
from kumotwist.config.option import Cidrs
from kumotwist.core.connection import AuthInfo, Identity
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.intake.http import acl as httpacl
from kumotwist.intake.http import auth as httpauth
from kumotwist.intake.http.acl import Authorizer, resources
from kumotwist.intake.http.auth import Authenticator
from kumotwist.net.router import HttpError, HttpRequest

NOBODY = Cidrs()


@pytest.fixture
def house():
    return House()


@pytest.fixture
def serve(house):
    """Listens with the given options."""
    listening = []

    def start(**options):
        listening.append(listen(house, **options))
        return listening[-1]

    yield start
    for one in listening:
        pytest_twisted.blockon(ensureDeferred(one.close()))


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def knows(user, password):
    return lambda given_user, given_password: (given_user, given_password) == (user, password)


@pytest.mark.parametrize(
    ("path", "method", "nobody", "trusted", "known"),
    [
        ("/api/check-liveness/v1", "GET", 200, 200, 200),
        ("/api/inject/v1", "POST", 401, 415, 415),
        ("/api/send/v1", "POST", 401, 415, 415),
        ("/api/openapi.json", "GET", 401, 200, 200),
        ("/metrics", "GET", 401, 200, 401),
        ("/metrics.json", "GET", 401, 200, 401),
        ("/metrics", "HEAD", 401, 200, 401),
        ("/api/nothing", "GET", 401, 404, 404),
        ("/api/inject/v1", "GET", 401, 405, 405),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_default_rules(house, serve, path, method, nobody, trusted, known):
    """Without a policy's say: liveness for all, injection for whom we know, the rest for trusted addresses.

    A stranger does not even learn what there is (KumoMTA's default ACL, semantics h.1).
    """
    house.policy.handlers["http_server_validate_auth_basic"] = knows("u", "p")
    assert (await serve(trusted_hosts=NOBODY).request(method, path)).code == nobody
    assert (await serve().request(method, path)).code == trusted
    answer = await serve(trusted_hosts=NOBODY).request(method, path, authorization=basic("u", "p"))
    assert answer.code == known


@pytest_twisted.ensureDeferred
async def test_a_refusal_says_who_may_not_do_what(serve):
    """The 401 names the peer, the method and the resource, and carries a challenge (RFC 9110 s11.6.1)."""
    peer = serve(trusted_hosts=NOBODY)
    answer = await peer.inject(simple())
    port = peer.port.getHost().port
    assert answer.code == 401
    assert answer.text == f"127.0.0.1 not permitted POST on http_listener/127.0.0.1:{port}/api/inject/v1"
    assert answer.headers["www-authenticate"].startswith("Basic realm=")


@pytest_twisted.ensureDeferred
async def test_a_good_credential_becomes_the_identity(house, serve):
    """Policy's True names the user in `http_auth` and in the AuthInfo that the event gets."""
    house.policy.handlers["http_server_validate_auth_basic"] = knows("üser", "pä:ss")
    seen = []
    house.policy.handlers["http_message_generated"] = lambda message, auth: seen.append(auth)
    answer = await serve(trusted_hosts=NOBODY).inject(simple(), authorization=basic("üser", "pä:ss"))
    assert answer.code == 200
    assert house.queue.messages[0].meta["http_auth"] == "üser"
    assert seen == [AuthInfo("127.0.0.1", (Identity("üser", "HttpBasicAuth"),))]


@pytest_twisted.ensureDeferred
async def test_policy_may_give_identity_and_groups(house, serve):
    """An AuthInfo from policy is taken, with the peer as we see it."""
    house.policy.handlers["http_server_validate_auth_basic"] = lambda user, password: AuthInfo(
        "6.6.6.6", (Identity("alice", "GenericAuth"),), ("senders",)
    )
    seen = []
    house.policy.handlers["http_message_generated"] = lambda message, auth: seen.append(auth)
    await serve().inject(simple(), authorization=basic("a", "b"))
    assert seen == [AuthInfo("127.0.0.1", (Identity("alice", "GenericAuth"),), (httpauth.TRUSTED_GROUP, "senders"))]


@pytest_twisted.ensureDeferred
async def test_a_bad_credential_is_refused_even_from_a_trusted_address(house, serve):
    """Who shows a credential is judged by it; KumoMTA's text."""
    house.policy.handlers["http_server_validate_auth_basic"] = knows("u", "p")
    answer = await serve().inject(simple(), authorization=basic("u", "wrong"))
    assert answer.code == 401
    assert answer.text == "HttpBasicAuth Authentication Failed for u"
    assert not house.store.saved


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("Bearer token", 400),
        ("Digest x", 400),
        ("Basic", 401),
        ("Basic ***", 400),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), 400),
        ("Basic " + base64.b64encode(b"a\r\nb:c").decode(), 400),
        ("Basic " + "QUFB" * 2000, 400),
    ],
)
@pytest_twisted.ensureDeferred
async def test_credentials_that_cannot_be_read(serve, header, code):
    """An unknown scheme and damaged Base64 are the client's fault, and said to be."""
    assert (await serve().request("GET", "/metrics", authorization=header)).code == code


@pytest.mark.parametrize("error", [PolicyError("boom at line 3"), Rejection(550, "no")])
@pytest_twisted.ensureDeferred
async def test_a_failing_handler_is_not_a_wrong_password(house, serve, error):
    """500 and try again later, without a word of the error."""

    def fail(*args):
        raise error

    house.policy.handlers["http_server_validate_auth_basic"] = fail
    answer = await serve().inject(simple(), authorization=basic("u", "p"))
    assert answer.code == 500
    assert "try again later" in answer.text
    assert "boom" not in answer.text
    house.policy.handlers = {"get_acl_definition": fail}
    assert (await serve().inject(simple())).code == 500


@pytest_twisted.ensureDeferred
async def test_an_identity_is_required(house, serve):
    """An AuthInfo that proves nothing lets nobody in."""
    house.policy.handlers["http_server_validate_auth_basic"] = lambda *args: AuthInfo(None, (), ("admins",))
    assert (await serve().inject(simple(), authorization=basic("u", "p"))).code == 500


@pytest_twisted.ensureDeferred
async def test_policy_rules_replace_the_default(house, serve):
    """get_acl_definition decides for its resource: here the metrics for one machine, injection for nobody."""
    rules = {
        "http_listener/*/metrics": AccessControlList((AclRule(MachineIs("127.0.0.1"), "GET", True),)),
        "http_listener/*/api/inject/v1": AccessControlList((AclRule(IdentityIs("Any"), "POST", False),)),
    }
    house.policy.handlers["get_acl_definition"] = rules.get
    peer = serve(trusted_hosts=NOBODY)
    assert (await peer.request("GET", "/metrics")).code == 200
    assert (await serve().inject(simple())).code == 401


def request(path="/metrics", header=None, peer="10.0.0.1"):
    return HttpRequest("GET", path, "", {"authorization": header}.get, b"", peer, "127.0.0.1:80", repeats=lambda _: 1)


@pytest_twisted.ensureDeferred
async def test_a_verdict_is_kept_for_a_minute(house):
    """Policy is asked once a minute for a credential, good or bad, and the password is kept nowhere."""
    clock = Clock()
    guard = Authenticator(house.policy, NOBODY, clock)
    house.policy.handlers["http_server_validate_auth_basic"] = knows("u", "topsecret")
    for _ in range(3):
        await guard.authenticate(request(header=basic("u", "topsecret")))
        with pytest.raises(HttpError):
            await guard.authenticate(request(header=basic("u", "bad")))
    assert len(house.policy.calls) == 2
    assert "topsecret" not in repr(guard._verdicts)
    assert basic("u", "topsecret") not in repr(guard._verdicts)
    clock.advance(61)
    await guard.authenticate(request(header=basic("u", "topsecret")))
    assert len(house.policy.calls) == 3


@pytest_twisted.ensureDeferred
async def test_the_auditor_hears_of_every_request(house, serve):
    """Who tried to be whom, and who was allowed what by which rule: also when the verdict was kept from before."""
    house.policy.handlers["http_server_validate_auth_basic"] = knows("u", "topsecret")
    peer = serve(trusted_hosts=NOBODY)
    for _ in range(2):
        await peer.request("GET", "/metrics", authorization=basic("u", "wrong"))
        await peer.inject(simple(), authorization=basic("u", "topsecret"))
    await peer.request("GET", "/metrics")
    noted = house.auditor.authentications
    assert [(attempted.identity, success) for attempted, success, _ in noted] == [("u", False), ("u", True)] * 2
    assert noted[0][2] == AuthInfo("127.0.0.1")
    assert "topsecret" not in repr(noted)
    allowed, _, denied = [decision for decision, _ in house.auditor.authorizations]
    address = f"127.0.0.1:{peer.port.getHost().port}"
    assert (allowed.is_allowed, allowed.privilege, allowed.matching) == (True, "POST", "http_listener/*/api/inject")
    assert allowed.resource == f"http_listener/{address}/api/inject/v1"
    assert allowed.considered == tuple(resources(address, "/api/inject/v1")[:5])
    assert (denied.is_allowed, denied.rule, denied.matching) == (False, None, None)


@pytest_twisted.ensureDeferred
async def test_a_failing_handler_is_a_failed_attempt(house):
    """The auditor is told of who did not get in, whatever the reason."""

    def fail(*args):
        raise PolicyError("no database")

    house.policy.handlers["http_server_validate_auth_basic"] = fail
    guard = Authenticator(house.policy, NOBODY, Clock(), house.auditor)
    with pytest.raises(HttpError):
        await guard.authenticate(request(header=basic("u", "p")))
    assert [success for _, success, _ in house.auditor.authentications] == [False]


@pytest_twisted.ensureDeferred
async def test_caches_are_bounded(house, monkeypatch):
    """Somebody who tries many passwords, addresses or paths does not fill memory."""
    monkeypatch.setattr(httpauth, "MAX_VERDICTS", 5)
    monkeypatch.setattr(httpauth, "MAX_PEERS", 5)
    monkeypatch.setattr(httpacl, "MAX_DECISIONS", 5)
    guard, judge = Authenticator(house.policy, NOBODY, Clock()), Authorizer(house.policy, Clock())
    for number in range(20):
        with pytest.raises(HttpError):
            await guard.authenticate(request(header=basic("u", str(number)), peer=f"10.0.0.{number}"))
        with pytest.raises(HttpError):
            await judge.authorize(request(path=f"/x/{number}"))
    assert len(guard._verdicts) <= 5
    assert len(guard._peers) <= 5
    assert len(judge._decisions) <= 5


@pytest_twisted.ensureDeferred
async def test_an_edited_acl_takes_effect(house):
    """A decision is kept for some seconds only."""
    clock = Clock()
    judge = Authorizer(house.policy, clock)
    with pytest.raises(HttpError):
        await judge.authorize(request())
    house.policy.handlers["get_acl_definition"] = {
        "http_listener": AccessControlList((AclRule(IdentityIs("Any"), "GET", True),))
    }.get
    clock.advance(httpacl.DECISION_TTL + 1)
    await judge.authorize(request())


def test_the_order_of_resources():
    """Most specific first, our own address before any (semantics h.1)."""
    assert resources("127.0.0.1:80", "/a/b") == [
        "http_listener/127.0.0.1:80/a/b",
        "http_listener/127.0.0.1:80/a",
        "http_listener/127.0.0.1:80",
        "http_listener/*/a/b",
        "http_listener/*/a",
        "http_listener",
    ]
    assert len(resources("x", "/a" * 200)) == 22
    assert resources("x", "/")[0] == "http_listener/x"

"""Secrets from a real Vault-compatible server (OpenBao), and the promises that hold for every source."""

import threading
from contextlib import asynccontextmanager

import pytest
from pytest_twisted import ensureDeferred
from support import openbao
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import Clock

from kumotwist.config.keysource import EnvironmentKey, EventKey, FileKey, LiteralKey, VaultKey
from kumotwist.core.errors import PolicyError, Rejection, SecretUnavailable
from kumotwist.net.tasks import Tasks
from kumotwist.secrets import pool
from kumotwist.secrets.cache import NEGATIVE_TTL
from kumotwist.secrets.store import KeyStore

READ_ALL = 'path "secret/*" { capabilities = ["read"] }'


class TestReactor(Clock):
    """Time by hand, threads for real."""

    callFromThread = staticmethod(reactor.callFromThread)
    getThreadPool = staticmethod(reactor.getThreadPool)


TestReactor.__test__ = False


async def no_event(name, args):
    raise AssertionError(f"event {name} called with {args}")


@asynccontextmanager
async def key_store(bao=None, run_event=no_event, **environ):
    """A key store at the given server; `clock` and `tasks` hang on it for the test."""
    clock, tasks = TestReactor(), Tasks()
    clock.advance(1_000_000)
    if bao is not None:
        environ.setdefault("VAULT_ADDR", bao.address)
        if not {"VAULT_TOKEN", "VAULT_TOKEN_FILE", "VAULT_ROLE_ID"} & set(environ):
            environ["VAULT_TOKEN"] = openbao.ROOT_TOKEN
    store = KeyStore(clock, tasks, environ, run_event)
    try:
        yield store
    finally:
        await store.close()
        await tasks.close()


def secret(path="mail", **settings):
    return VaultKey(vault_mount="secret", vault_path=path, **settings)


async def idle(store):
    """Until no background work is left."""
    while len(store.tasks):
        pause = Deferred()
        reactor.callLater(0.005, pause.callback, None)
        await pause


@pytest.fixture(scope="module")
def bao(tmp_path_factory):
    with openbao.running(tmp_path_factory.mktemp("openbao")) as server:
        yield server


# -- every source -----------------------------------------------------------------------------------


@pytest.fixture(params=["file", "literal", "environment", "event", "vault v1", "vault v2"])
def source(request, bao, tmp_path):
    """Every kind of source, each holding the text `s3cret-välue`."""
    match request.param:
        case "file":
            (tmp_path / "key").write_text("s3cret-välue", encoding="utf-8")
            return FileKey(str(tmp_path / "key"))
        case "literal":
            return LiteralKey("s3cret-välue".encode())
        case "environment":
            return EnvironmentKey("MAIL_KEY")
        case "event":
            return EventKey("get_key", ("a", 1))
        case "vault v1":
            if "kv1/" not in bao.root.sys.list_mounted_secrets_engines():
                bao.root.sys.enable_secrets_engine("kv", "kv1", options={"version": "1"})
            bao.root.secrets.kv.v1.create_or_update_secret("deep/mail", {"key": "s3cret-välue"}, mount_point="kv1")
            return VaultKey(vault_mount="kv1", vault_path="deep/mail", vault_kv_version=1)
        case _:
            bao.put("deep/mail", password="s3cret-välue")
            return secret("deep/mail", vault_key="password")


@ensureDeferred
async def test_every_source_gives_the_same_bytes(bao, source):
    """A key is a key, wherever the operator keeps it."""

    async def run_event(name, args):
        assert (name, tuple(args)) == ("get_key", ("a", 1))
        return "s3cret-välue".encode()

    async with key_store(bao, run_event, MAIL_KEY="s3cret-välue") as store:
        assert await store.load(source) == "s3cret-välue".encode()


@ensureDeferred
async def test_no_source_or_store_shows_its_value(bao, source):
    """Printing a source or the store never prints the secret or a token."""

    async def run_event(name, args):
        return b"s3cret"

    async with key_store(bao, run_event, MAIL_KEY="s3cret") as store:
        await store.load(source)
        for shown in (repr(source), str(source), repr(store), repr(store._vault), repr(store._cache)):
            assert "s3cret" not in shown
            assert openbao.ROOT_TOKEN not in shown


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        (FileKey("/nowhere/key.pem"), "key file /nowhere/key.pem: No such file or directory"),
        (FileKey("-----BEGIN KEY-----\nMII"), "give a key itself as key_data"),
        (EnvironmentKey("NO_SUCH"), "environment variable NO_SUCH is not set"),
        (secret("no/such"), "Vault secret secret/no/such at http://127.0.0.1:"),
        (VaultKey(vault_mount="nomount", vault_path="x", vault_kv_version=1), "there is no such secret"),
    ],
)
@ensureDeferred
async def test_a_missing_secret_is_told_by_its_source(bao, missing, text):
    """The operator reads which key is missing, and that waiting will not help."""
    async with key_store(bao) as store:
        with pytest.raises(SecretUnavailable) as caught:
            await store.load(missing)
    assert text in str(caught.value)
    assert "MII" not in str(caught.value)
    assert caught.value.permanent


# -- policy events ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Rejection(400, "later"), PolicyError("init.lua:3: oops")])
@ensureDeferred
async def test_an_event_that_fails_gives_no_key(error):
    """A key event that fails is named."""

    async def run_event(name, args):
        raise error

    async with key_store(None, run_event) as store:
        with pytest.raises(SecretUnavailable, match="event get_key"):
            await store.load(EventKey("get_key"))


# -- reading from Vault ---------------------------------------------------------------------------------


@ensureDeferred
async def test_several_fields_of_one_secret(bao):
    """`vault_key` picks the field; a field that is absent or no string is named."""
    bao.put("mail", key="default", user="postmaster", count=3)
    async with key_store(bao) as store:
        assert await store.load(secret()) == b"default"
        assert await store.load(secret(vault_key="user")) == b"postmaster"
        with pytest.raises(SecretUnavailable, match="has no key 'pass'"):
            await store.load(secret(vault_key="pass"))
        with pytest.raises(SecretUnavailable, match="'count' is not a string"):
            await store.load(secret(vault_key="count"))


@ensureDeferred
async def test_a_deleted_version_is_no_secret(bao):
    """A secret that was deleted is missing, though Vault keeps its metadata."""
    bao.put("deleted", key="x")
    bao.root.secrets.kv.v2.delete_latest_version_of_secret("deleted", mount_point="secret")
    async with key_store(bao) as store:
        with pytest.raises(SecretUnavailable, match="no such secret"):
            await store.load(secret("deleted"))


@ensureDeferred
async def test_a_namespace_is_a_world_of_its_own(bao):
    """`vault_namespace` (or VAULT_NAMESPACE) chooses the namespace; the root one has no such secret."""
    bao.root.sys.create_namespace("team1")
    bao.root.adapter.namespace = "team1"
    try:
        bao.root.sys.enable_secrets_engine("kv", "secret", options={"version": "2"})
        bao.put("private", key="of team1")
    finally:
        bao.root.adapter.namespace = None
    async with key_store(bao) as store:
        assert await store.load(secret("private", vault_namespace="team1")) == b"of team1"
        with pytest.raises(SecretUnavailable, match="no such secret"):
            await store.load(secret("private"))
    async with key_store(bao, VAULT_NAMESPACE="team1") as store:
        assert await store.load(secret("private")) == b"of team1"


@ensureDeferred
async def test_tls_is_verified_against_the_given_authority(tmp_path):
    """With `vault_ca_cert` an own authority is trusted; without it the connection is refused."""
    with openbao.running(tmp_path, tls=True) as server:
        server.put("mail", key="over TLS")
        async with key_store(server) as store:
            assert await store.load(secret(vault_ca_cert=server.ca_cert)) == b"over TLS"
            with pytest.raises(SecretUnavailable, match="certificate does not verify"):
                await store.load(secret())


@pytest.mark.parametrize(
    ("environ", "text"), [({}, "VAULT_ADDR"), ({"VAULT_ADDR": "http://127.0.0.1:1"}, "no Vault credentials")]
)
@ensureDeferred
async def test_missing_settings_are_named(environ, text):
    """Without address or credentials the error says what to set."""
    async with key_store(None, **environ) as store:
        with pytest.raises(SecretUnavailable, match=text):
            await store.load(secret())


@ensureDeferred
async def test_credentials_in_the_address_are_not_shown(bao):
    """A password in the Vault address stays out of errors."""
    async with key_store(None, VAULT_ADDR="http://user:hunter2@127.0.0.1:1", VAULT_TOKEN="t0ken") as store:
        with pytest.raises(SecretUnavailable, match="cannot connect to Vault") as caught:
            await store.load(secret())
    assert "hunter2" not in str(caught.value)
    assert "t0ken" not in str(caught.value)


# -- cache ------------------------------------------------------------------------------------------------


@ensureDeferred
async def test_an_outage_does_not_stop_mail(tmp_path, events):
    """After Vault died the last value goes on being used, and the log says so once per try, without the value."""
    with openbao.running(tmp_path) as server:
        server.put("mail", key="s3cret")
        async with key_store(server) as store:
            assert await store.load(secret()) == b"s3cret"
            server.stop()
            store.reactor.advance(3600)
            for _ in range(10):
                assert await store.load(secret()) == b"s3cret"
            await idle(store)
            assert await store.load(secret()) == b"s3cret"
    warnings = [str(event.get("error")) for event in events if "could not be refreshed" in event["log_format"]]
    assert len(warnings) == 1
    assert "cannot connect to Vault" in warnings[0]
    assert "s3cret" not in repr(events)


@ensureDeferred
async def test_a_changed_secret_is_picked_up(bao):
    """After the ttl the old value is served once more while the new one is fetched."""
    bao.put("rotated", key="old")
    async with key_store(bao) as store:
        assert await store.load(secret("rotated")) == b"old"
        bao.put("rotated", key="new")
        assert await store.load(secret("rotated")) == b"old"
        store.reactor.advance(400)
        assert await store.load(secret("rotated")) == b"old"
        await idle(store)
        assert await store.load(secret("rotated")) == b"new"


@ensureDeferred
async def test_a_removed_secret_goes_out_of_use(bao):
    """A secret that somebody deleted is not served from memory for ever."""
    bao.put("removed", key="x")
    async with key_store(bao) as store:
        await store.load(secret("removed"))
        bao.root.secrets.kv.v2.delete_metadata_and_all_versions("removed", mount_point="secret")
        store.reactor.advance(400)
        await store.load(secret("removed"))
        await idle(store)
        with pytest.raises(SecretUnavailable, match="no such secret"):
            await store.load(secret("removed"))


@ensureDeferred
async def test_a_missing_secret_is_asked_for_again_soon(bao):
    """A miss is remembered for seconds only."""
    async with key_store(bao) as store:
        with pytest.raises(SecretUnavailable):
            await store.load(secret("late"))
        bao.put("late", key="here")
        with pytest.raises(SecretUnavailable):
            await store.load(secret("late"))
        store.reactor.advance(NEGATIVE_TTL + 1)
        assert await store.load(secret("late")) == b"here"


@ensureDeferred
async def test_many_readers_make_one_request(bao):
    """A hundred messages that need one key at once cost Vault one read."""
    bao.put("popular", key="x")
    policy = 'path "secret/data/popular" { capabilities = ["read"] }'
    bao.root.sys.create_or_update_policy("popular", policy)
    # A token that is good for one use (and one lookup of itself) shows that there was one request.
    token = bao.root.auth.token.create(policies=["popular"], num_uses=2)["auth"]["client_token"]
    async with key_store(bao, VAULT_TOKEN=token) as store:
        loads = [Deferred.fromCoroutine(store.load(secret("popular"))) for _ in range(100)]
        results = await DeferredList(loads, fireOnOneErrback=True)
    assert {value for _, value in results} == {b"x"}


@ensureDeferred
async def test_a_reader_that_gives_up_harms_nobody(bao):
    """A cancelled wait does not cancel the read that others wait for."""
    bao.put("shared", key="x")
    async with key_store(bao) as store:
        first = Deferred.fromCoroutine(store.load(secret("shared")))
        second = Deferred.fromCoroutine(store.load(secret("shared")))
        first.addErrback(lambda _: None)
        first.cancel()
        assert await second == b"x"


# -- tokens -----------------------------------------------------------------------------------------------


@ensureDeferred
async def test_approle_logs_in_once_and_again_when_its_token_dies(bao):
    """A token that expired is replaced by exactly one login, also when several reads meet the 403 at once."""
    role_id, secret_id = bao.make_approle("relogin", READ_ALL, token_ttl="1h")
    for number in range(8):
        bao.put(f"many{number}", key=str(number))
    before = bao.accessors()
    async with key_store(bao, VAULT_ROLE_ID=role_id, VAULT_SECRET_ID=secret_id) as store:
        await store.load(secret("many0"))
        (first,) = bao.accessors() - before
        bao.root.auth.token.revoke_accessor(first)
        loads = [Deferred.fromCoroutine(store.load(secret(f"many{number}"))) for number in range(1, 8)]
        results = await DeferredList(loads, fireOnOneErrback=True)
        assert [value for _, value in results] == [b"1", b"2", b"3", b"4", b"5", b"6", b"7"]
        assert len(bao.accessors() - before) == 1


@ensureDeferred
async def test_denied_is_denied_after_one_more_login(bao):
    """A path that the role may not read costs one login, then a clear error; it is not retried for ever."""
    role_id, secret_id = bao.make_approle("narrow", 'path "secret/data/other" { capabilities = ["read"] }')
    before = bao.accessors()
    async with key_store(bao, VAULT_ROLE_ID=role_id, VAULT_SECRET_ID=secret_id) as store:
        with pytest.raises(SecretUnavailable, match="denied access") as caught:
            await store.load(secret("mail"))
    assert not caught.value.permanent
    assert secret_id not in str(caught.value)
    assert len(bao.accessors() - before) == 2


@ensureDeferred
async def test_a_wrong_secret_id_is_told_without_showing_it(bao):
    """A refused login names the Vault and the reason."""
    role_id, _ = bao.make_approle("wrong", READ_ALL)
    async with key_store(bao, VAULT_ROLE_ID=role_id, VAULT_SECRET_ID="wr0ng") as store:
        with pytest.raises(SecretUnavailable, match="refused the request or the login") as caught:
            await store.load(secret("mail"))
    assert "wr0ng" not in str(caught.value)


@ensureDeferred
async def test_a_token_is_renewed_at_two_thirds_of_its_lease(bao):
    """A token with a lease does not run out while the daemon lives, though no mail needs it."""
    role_id, secret_id = bao.make_approle("renewed", READ_ALL, token_ttl="60s")
    bao.put("mail", key="x")
    before = bao.accessors()
    async with key_store(bao, VAULT_ROLE_ID=role_id, VAULT_SECRET_ID=secret_id) as store:
        await store.load(secret())
        (accessor,) = bao.accessors() - before
        store.reactor.advance(39)
        await idle(store)
        assert "last_renewal" not in bao.root.auth.token.lookup_accessor(accessor)["data"]
        store.reactor.advance(2)
        await idle(store)
        assert "last_renewal" in bao.root.auth.token.lookup_accessor(accessor)["data"]
        # and again, since the renewed lease ends too
        assert len(store.reactor.getDelayedCalls()) == 1


@ensureDeferred
async def test_a_renewal_that_is_refused_leads_to_a_login(bao):
    """At the end of its life a token cannot be renewed: another login takes its place."""
    role_id, secret_id = bao.make_approle("maxed", READ_ALL, token_ttl="60s")
    bao.put("mail", key="x")
    before = bao.accessors()
    async with key_store(bao, VAULT_ROLE_ID=role_id, VAULT_SECRET_ID=secret_id) as store:
        await store.load(secret())
        (accessor,) = bao.accessors() - before
        bao.root.auth.token.revoke_accessor(accessor)
        store.reactor.advance(41)
        await idle(store)
        assert len(bao.accessors() - before) == 1


@ensureDeferred
async def test_renewal_outlives_an_outage(tmp_path):
    """While Vault is away the renewal is tried again every few seconds, not given up."""
    with openbao.running(tmp_path) as server:
        role_id, secret_id = server.make_approle("patient", READ_ALL, token_ttl="60s")
        server.put("mail", key="x")
        async with key_store(server, VAULT_ROLE_ID=role_id, VAULT_SECRET_ID=secret_id) as store:
            await store.load(secret())
            server.stop()
            store.reactor.advance(41)
            await idle(store)
            (call,) = store.reactor.getDelayedCalls()
            assert call.getTime() - store.reactor.seconds() == pytest.approx(10)


@ensureDeferred
async def test_renewal_outlives_a_crowd_of_reads(bao, monkeypatch):
    """A renewal that finds no thread free is tried again soon; else the token would run out, with all its mail."""
    monkeypatch.setattr(pool, "MAX_WAITING", 1)
    role_id, secret_id = bao.make_approle("crowded", READ_ALL, token_ttl="60s")
    bao.put("mail", key="x")
    before = bao.accessors()
    async with key_store(bao, VAULT_ROLE_ID=role_id, VAULT_SECRET_ID=secret_id) as store:
        await store.load(secret())
        (accessor,) = bao.accessors() - before
        crowd = threading.Event()
        held = Deferred.fromCoroutine(store._vault._threads.run(crowd.wait))
        store.reactor.advance(41)
        await idle(store)
        crowd.set()
        await held
        store.reactor.advance(pool.BUSY_RETRY)
        await idle(store)
        assert "last_renewal" in bao.root.auth.token.lookup_accessor(accessor)["data"]


@ensureDeferred
async def test_a_token_file_is_read_again_when_it_changes(bao, tmp_path):
    """An agent that rotates the token file is followed; a refused token whose file did not change is told."""
    bao.root.sys.create_or_update_policy("reader", READ_ALL)
    tokens = [bao.root.auth.token.create(policies=["reader"])["auth"]["client_token"] for _ in range(2)]
    path = tmp_path / "token"
    path.write_text(tokens[0] + "\n")
    for name in ("one", "two", "three"):
        bao.put(name, key=name)
    async with key_store(bao, VAULT_TOKEN_FILE=str(path)) as store:
        assert await store.load(secret("one")) == b"one"
        bao.root.auth.token.revoke(tokens[0])
        with pytest.raises(SecretUnavailable, match="denied access"):
            await store.load(secret("two"))
        path.write_text(tokens[1] + " \n")
        assert await store.load(secret("three")) == b"three"


@ensureDeferred
async def test_a_missing_token_file_is_told(bao, tmp_path):
    """Without its token file the daemon says which file it wants."""
    async with key_store(bao, VAULT_TOKEN_FILE=str(tmp_path / "none")) as store:
        with pytest.raises(SecretUnavailable, match=r"Vault token file .*none: No such file"):
            await store.load(secret("mail"))
    (tmp_path / "empty").write_text("\n")
    async with key_store(bao, VAULT_TOKEN_FILE=str(tmp_path / "empty")) as store:
        with pytest.raises(SecretUnavailable, match="is empty"):
            await store.load(secret("mail"))

"""The accounting log."""

import json

import pytest
import pytest_twisted
import zstandard
from twisted.internet import reactor

from kumotwist.config.acl import AccessDecision, AclRule, IdentityIs
from kumotwist.config.records import AcctLogConfig
from kumotwist.core.connection import AuthInfo, Identity
from kumotwist.core.errors import ConfigError
from kumotwist.records.acct import NO_ACCT_LOG, AcctLog, open_acct_log

WHO = Identity("scott", "HttpBasicAuth")
AUTH = AuthInfo("127.0.0.1", (WHO,), ("g",))
ALLOWED = AccessDecision(
    resource="http_listener/x/metrics",
    privilege="GET",
    considered=("http_listener/x/metrics", "http_listener/x"),
    matching="http_listener/*",
    rule=AclRule(IdentityIs("Group", "g"), "GET", True),
)
DENIED = AccessDecision(resource="http_listener/x/metrics", privilege="GET", considered=("http_listener/x/metrics",))


async def note(log):
    for success in (True, False):
        await log.authentication(WHO, success, AUTH if success else AuthInfo("127.0.0.1"))
    for decision in (ALLOWED, DENIED):
        await log.authorization(decision, AUTH)
    await log.close()


@pytest_twisted.ensureDeferred
async def test_logins_and_decisions_are_lines_in_segments_of_their_own(tmp_path):
    """An auditor can see who logged in and who was refused what."""
    await note(AcctLog(AcctLogConfig(log_dir=str(tmp_path)), reactor))
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("acct-2")
    with open(path, "rb") as file:
        records = [json.loads(line) for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()]
    assert [one["type"] for one in records] == ["Authentication"] * 2 + ["Authorization"] * 2
    assert records[0].pop("timestamp").endswith("Z")
    assert records[0] == {
        "type": "Authentication",
        "attempted_identity": {"identity": "scott", "context": "HttpBasicAuth"},
        "success": True,
        "auth_info": AUTH.to_json(),
    }
    assert [one["access"] for one in records[2:]] == ["Allow", "Deny"]
    assert [one["matching_resource"] for one in records[2:]] == ["http_listener/*", None]
    assert records[2]["target_resource"] == "http_listener/x/metrics"
    assert records[2]["rule"] == {"criteria": {"Identity": {"Group": "g"}}, "privilege": "GET", "access": "Allow"}
    assert records[2]["considered_resources"] == ["http_listener/x/metrics", "http_listener/x"]
    assert records[3]["rule"] is None


@pytest_twisted.ensureDeferred
async def test_each_kind_can_be_left_out(tmp_path):
    """Only what was asked for is written; without a log, nothing is."""
    config = AcctLogConfig(
        log_dir=str(tmp_path), log_authn_ok=False, log_authn_fail=False, log_authz_allow=False, log_authz_deny=False
    )
    await note(AcctLog(config, reactor))
    await note(NO_ACCT_LOG)
    assert list(tmp_path.iterdir()) == []


def test_there_is_one_log_at_most(tmp_path):
    """A second `configure_acct_log` is an error of the policy, as in KumoMTA; none is a log that notes nothing."""
    config = AcctLogConfig(log_dir=str(tmp_path))
    with pytest.raises(ConfigError, match="more than once"):
        open_acct_log((config, config), reactor)
    assert open_acct_log((), reactor) is NO_ACCT_LOG

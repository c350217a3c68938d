"""Who logged in and who was allowed what is on record, from every worker."""

from __future__ import annotations

import base64
import http.client
import smtplib
import ssl
from pathlib import Path
from typing import Any

import pytest
from support.daemon import SMTP_LISTENER, Daemon, eventually, read_segment, relay_policy

LISTENERS = SMTP_LISTENER + " kumo.start_http_listener { listen = '127.0.0.1:0', trusted_hosts = {} }"
ACCT_LOG = " kumo.aaa.configure_acct_log {{ log_dir = '{log_dir}'{options} }}"
EVENTS = """
kumo.on('smtp_server_auth_plain', function(authz, authc, password)
  return password == 'opensesame'
end)
kumo.on('http_server_validate_auth_basic', function(user, password)
  return password == 'opensesame'
end)
"""


def policy(directory: Path, options: str = "") -> str:
    acct_log = ACCT_LOG.format(log_dir=directory / "acct", options=options)
    return relay_policy(directory, 9, LISTENERS + acct_log, EVENTS)


def records(directory: Path) -> list[dict[str, Any]]:
    """What the accounting log of all workers says, by time."""
    found = [record for path in (directory / "acct").glob("acct-*") for record in read_segment(path)]
    return sorted(found, key=lambda record: record["timestamp"])


def log_in(daemon: Daemon, user: str, password: str) -> bool:
    """Whether AUTH PLAIN under TLS lets `user` in; smtplib's own `login` would try LOGIN as well."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with daemon.smtp() as client:
        client.starttls(context=context)
        client.ehlo()
        client.user, client.password = user, password
        try:
            client.auth("PLAIN", client.auth_plain)
        except smtplib.SMTPAuthenticationError:
            return False
    return True


def get(daemon: Daemon, path: str, credential: str | None = None) -> int:
    """The status of a request as `user:password`, or as nobody."""
    headers = {"Authorization": "Basic " + base64.b64encode(credential.encode()).decode()} if credential else {}
    client = http.client.HTTPConnection("127.0.0.1", daemon.port("http"), timeout=30)
    try:
        client.request("GET", path, headers=headers)
        answer = client.getresponse()
        answer.read()
    finally:
        client.close()
    return answer.status


@pytest.mark.parametrize("workers", [0, 2])
def test_logins_and_decisions_are_on_record(tmp_path, workers) -> None:
    """AUTH by SMTP, Basic by HTTP and each ACL decision leave a line in the accounting log, without the password."""
    with Daemon(tmp_path, policy(tmp_path), workers=workers) as daemon:
        assert log_in(daemon, "ann", "opensesame")
        assert not log_in(daemon, "bob", "guess")
        assert get(daemon, "/metrics", "carol:opensesame") == 401
        assert get(daemon, "/metrics", "dave:guess") == 401
        assert get(daemon, "/api/check-liveness/v1") == 200
        eventually(lambda: len(records(tmp_path)) >= 6, "six lines are flushed")
    found = records(tmp_path)
    logins = [
        (one["attempted_identity"]["identity"], one["attempted_identity"]["context"], one["success"])
        for one in found
        if one["type"] == "Authentication"
    ]
    assert logins == [
        ("ann", "SmtpAuthPlainAuthentication", True),
        ("bob", "SmtpAuthPlainAuthentication", False),
        ("carol", "HttpBasicAuth", True),
        ("dave", "HttpBasicAuth", False),
    ]
    denied, allowed = [one for one in found if one["type"] == "Authorization"]
    port = daemon.port("http")
    assert (denied["access"], denied["target_resource"]) == ("Deny", f"http_listener/127.0.0.1:{port}/metrics")
    assert denied["auth_info"]["identities"] == [{"identity": "carol", "context": "HttpBasicAuth"}]
    assert (allowed["access"], allowed["matching_resource"]) == ("Allow", "http_listener/*/api/check-liveness")
    assert allowed["rule"] == {"criteria": {"Identity": {"Any": {}}}, "privilege": "GET", "access": "Allow"}
    assert not any("opensesame" in str(one) or "guess" in str(one) for one in found)
    assert all(path.stat().st_mode & 0o222 == 0 for path in (tmp_path / "acct").iterdir()), "a segment is not finished"


def test_only_what_was_asked_for_is_on_record(tmp_path) -> None:
    """`log_authn_ok` and `log_authz_allow` switched off leave the failures, as KumoMTA's documentation advises."""
    options = ", log_authn_ok = false, log_authz_allow = false"
    with Daemon(tmp_path, policy(tmp_path, options)) as daemon:
        log_in(daemon, "ann", "opensesame")
        log_in(daemon, "bob", "guess")
        get(daemon, "/api/check-liveness/v1")
        get(daemon, "/metrics")
    assert [(one["type"], one.get("success"), one.get("access")) for one in records(tmp_path)] == [
        ("Authentication", False, None),
        ("Authorization", None, "Deny"),
    ]

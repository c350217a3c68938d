"""Whole policies as KumoMTA's users write them, unmodified: checked, then run with real peers."""

from __future__ import annotations

import base64
import json
import shutil
import smtplib
import sqlite3
import subprocess
import sys
import urllib.request
from collections import Counter
from email import message_from_string, policy
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.daemon import Daemon, Sink, eventually, mail
from support.proxies import BindingProxy, microsocks
from support.webhook import WebPeer

WHOLE = Path(__file__).parent / "whole"


def daemon_with(name: str, directory: Path, **env: str) -> Daemon:
    """A daemon on one of the policies, with ports and directories of its own."""
    settings = {"STATE_DIR": str(directory), "SMTP_LISTEN": "127.0.0.1:0", "HTTP_LISTEN": "127.0.0.1:0"}
    return Daemon(directory, WHOLE / f"{name}.lua", env={**settings, **env})


def helper_files(directory: Path, port: int) -> None:
    """The data files of `helpers.lua`; mail goes to `port`."""
    files = {
        "listener_domains": '["partner.test"]\nrelay_from = ["127.0.0.0/8"]\n["*"]\nrelay_to = false\n',
        "sources": """
            [source.ip-1]
            source_address = "127.0.0.1"
            [source.ip-2]
            source_address = "127.0.0.2"
            [pool.shared.ip-1]
            [pool.dedicated.ip-2]
        """,
        "queues": """
            tenant_header = "X-Tenant"
            remove_tenant_header = true
            campaign_header = "X-Campaign"
            default_tenant = "everybody"
            [tenant.everybody]
            egress_pool = "shared"
            [tenant.acme]
            egress_pool = "dedicated"
            [queue.'small.test']
            routing_domain = "hub.test"
        """,
        "shaping": f"""
            [default]
            smtp_port = {port}
            enable_tls = "Disabled"
            prohibited_hosts = []
            [provider.big]
            match = [{{ MXSuffix = ".big.test" }}]
            provider_connection_limit = 2
        """,
    }
    for name, text in files.items():
        (directory / f"{name}.toml").write_text(text)


@pytest.mark.parametrize(
    "name",
    ["outbound_server", "webhooks", "traffic", "helpers", "conforming_relay", "cluster", "proxied", "sqlite_auth"],
)
def test_they_are_valid(name: str, tmp_path: Path) -> None:
    """`kumotwist validate` finds nothing wrong with them."""
    shutil.copy(WHOLE / "customers.lua", tmp_path)
    helper_files(tmp_path, 25)
    settings = {"default": {"retry": "1s"}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "kumotwist.service.main", "validate", "--policy", str(WHOLE / f"{name}.lua")]
    done = subprocess.run(
        command, capture_output=True, text=True, env={"STATE_DIR": str(tmp_path), "HOSTNAME": "localhost"}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
    told = [line for line in done.stderr.splitlines() if "WARN lua: policy-extras.shaping: traffic shaping" not in line]
    assert {line.partition(": ")[0] for line in told} <= {"warning"}


def test_outbound_server(tmp_path: Path) -> None:
    """Listener domains, customers from a header, pools of addresses and paths from tables."""
    shutil.copy(WHOLE / "customers.lua", tmp_path)
    with Sink(tmp_path) as sink, daemon_with("outbound_server", tmp_path, DEST_PORT=str(sink.port)) as daemon:
        with daemon.smtp() as client:
            assert client.ehlo("client.test")[0] == 250
            with pytest.raises(smtplib.SMTPRecipientsRefused) as denied:
                client.sendmail("a@elsewhere.test", ["b@big.test"], mail("no"))
            assert b"relaying not permitted" in denied.value.recipients["b@big.test"][1]
            with pytest.raises(smtplib.SMTPSenderRefused, match=r"spam\.example may not send here"):
                client.sendmail("a@spam.example", ["b@big.test"], mail("no"))
            with pytest.raises(smtplib.SMTPDataError, match="unknown customer unknown"):
                client.sendmail("a@partner.example.net", ["b@big.test"], mail("no"))
            headers = "X-Customer: acme\r\nX-Campaign: Spring Sale\r\n"
            client.sendmail("a@partner.example.net", ["b@big.test"], mail("one", extra=headers))
            client.sendmail("a@partner.example.net", ["b@big.test"], mail("two", extra="X-Customer: Globex Inc\r\n"))
            client.sendmail("a@partner.example.net", ["c@small.test"], mail("three", extra=headers))
        sink.wait_for(3)
        records = daemon.wait_for_records("Delivery", 3)
        rejections = daemon.wait_for_records("Rejection", 3)  # in a log of its own, written out in its own time
        names = {path.name.rpartition("_")[2] for path in daemon.log_dir.iterdir()}
    assert names == {"delivery", "any"}
    by_subject = {record["headers"]["Subject"]: record for record in records}
    one, two, three = (by_subject[name] for name in ("one", "two", "three"))
    assert one["queue"] == "spring-sale:acme@big.test"
    assert one["site"] == "ip-2->(mx1|mx2).big.test@smtp_client"
    assert (one["egress_pool"], one["egress_source"]) == ("dedicated", "ip-2")
    assert one["source_address"]["address"].startswith("127.0.0.2:")
    assert one["meta"]["tenant"] == "acme"
    assert one["peer_address"]["name"].rstrip(".") == "mx1.big.test"
    assert (two["queue"], two["egress_pool"]) == ("Globex Inc@big.test", "shared")
    assert (three["queue"], three["site"]) == ("spring-sale:acme@small.test", "ip-2->small.test@smtp_client")
    assert [one["response"]["code"] for one in rejections] == [550, 550, 552]
    for message in sink.messages():
        text = message["data"]
        assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in text
        assert "X-Customer" not in text
        assert "X-KumoRef: " in text
        assert "by mail.example.com (KumoMTA 127.0.0.1)" in text


def test_conforming_relay(tmp_path: Path) -> None:
    """Sloppy mail is put right, what cannot be understood is refused in KumoMTA's words, good mail is left alone."""
    sloppy = "Subject : Grüße\r\nFrom: Jörg <joerg@app.test>\r\n\r\nHallo Jörg, " + "sehr langer Text " * 20 + "\r\n"
    fields = "Date: Tue, 1 Jul 2003 10:52:37 +0200\r\nMessage-ID: <1@app.test>\r\nMime-Version: 1.0\r\n"
    good = mail("good", extra=fields)
    with Sink(tmp_path) as sink, daemon_with("conforming_relay", tmp_path, DEST_PORT=str(sink.port)) as daemon:
        with daemon.smtp() as client:
            with pytest.raises(smtplib.SMTPDataError) as refused:
                client.sendmail("a@app.test", ["b@big.test"], "Subject\r\n\r\nhello\r\n")
            assert refused.value.smtp_error == b"5.6.0 Message has conformance issues: MISSING_COLON_VALUE"
            client.sendmail("a@app.test", ["b@big.test"], sloppy.encode("latin-1"))
            client.sendmail("a@app.test", ["b@big.test"], good)
        sink.wait_for(2)
        records = daemon.wait_for_records("Delivery", 2)
    first, second = sorted(sink.messages(), key=lambda message: "Message-ID: <1@app.test>" in message["data"])
    fixed = message_from_string(first["data"], policy=policy.default)
    assert first["data"].isascii()
    assert max(map(len, first["data"].splitlines())) <= 76
    assert (fixed["Subject"], fixed["From"], fixed["Mime-Version"]) == ("Grüße", "Jörg <joerg@app.test>", "1.0")
    assert fixed["Message-ID"].endswith("@app.test>")
    assert fixed["Date"].datetime.year >= 2026
    assert fixed.get_content().startswith("Hallo Jörg, sehr langer Text sehr")
    head, _, body = good.partition("\r\n\r\n")
    assert head in second["data"]
    assert second["data"].endswith(f"\r\n\r\n{body}")
    assert {UUID(record["headers"]["X-Trace-Id"]).version for record in records} == {7}


def test_proxied(tmp_path: Path) -> None:
    """Mail leaves from the addresses of proxies, one that binds and one that asks who we are; records name them."""
    with Sink(tmp_path) as sink, BindingProxy() as proxy, microsocks("-u", "mail", "-P", "word") as shared:
        servers = {"PROXY": f"127.0.0.1:{proxy.port}", "SHARED_PROXY": f"localhost:{shared}"}
        with daemon_with("proxied", tmp_path, DEST_PORT=str(sink.port), **servers) as daemon:
            with daemon.smtp() as client:
                client.sendmail("a@src.test", ["b@big.test"], mail("bound"))
                client.sendmail("a@src.test", ["b@shared.test"], mail("shared"))
            sink.wait_for(2)
            records = daemon.wait_for_records("Delivery", 2)
    by_subject = {record["headers"]["Subject"]: record["source_address"] for record in records}
    assert by_subject["bound"].pop("address").startswith("127.0.0.9:")
    assert by_subject["bound"] == {"server": servers["PROXY"], "protocol": "socks5"}
    assert by_subject["shared"]["server"] == servers["SHARED_PROXY"]
    assert proxy.asked == ["127.0.0.9"]


def test_sqlite_auth(tmp_path: Path) -> None:
    """Users from a database may relay, and who comes from the container's own network; nobody else."""
    with sqlite3.connect(tmp_path / "auth.db") as users:
        users.execute("create table auth (user, pass)")
        users.execute("insert into auth values ('ann', 'word')")
    users.close()
    with (
        Sink(tmp_path) as sink,
        daemon_with("sqlite_auth", tmp_path, DEST_PORT=str(sink.port), HOSTNAME="localhost") as daemon,
    ):
        with daemon.smtp() as client:
            client.sendmail("a@src.test", ["b@big.test"], mail("from our network"))
        for word, is_right in (("guess", False), ("", False), ("word", True)):
            with smtplib.SMTP("127.0.0.1", daemon.port(), source_address=("127.0.1.9", 0)) as client:
                client.starttls()
                client.ehlo()
                client.user, client.password = "ann", word
                if is_right:
                    assert client.auth("PLAIN", client.auth_plain)[0] == 235
                    client.sendmail("a@src.test", ["b@big.test"], mail("from ann"))
                    continue
                with pytest.raises(smtplib.SMTPAuthenticationError):
                    client.auth("PLAIN", client.auth_plain)
                with pytest.raises(smtplib.SMTPRecipientsRefused):
                    client.sendmail("a@src.test", ["b@big.test"], mail("no"))
        sink.wait_for(2)


def test_helpers(tmp_path: Path) -> None:
    """A policy that is little but its helpers: who may send, pools, tenants, shaping and a webhook from data files."""
    rules = [{"at": "rcpt", "match": "gone@", "reply": "550 5.1.1 no such user"}]
    with WebPeer() as peer, Sink(tmp_path, rules) as sink:
        helper_files(tmp_path, sink.port)
        with daemon_with("helpers", tmp_path, WEBHOOK=f"http://127.0.0.1:{peer.port}/log") as daemon:
            with daemon.smtp() as client:
                with pytest.raises(smtplib.SMTPRecipientsRefused):
                    client.sendmail("a@elsewhere.test", ["b@big.test"], mail("no"))
                headers = "X-Tenant: acme\r\nX-Campaign: spring\r\n"
                client.sendmail("a@partner.test", ["b@big.test"], mail("one", extra=headers))
                client.sendmail("a@partner.test", ["c@small.test"], mail("two"))
                client.sendmail("a@partner.test", ["gone@big.test"], mail("three"))
            sink.wait_for(2)

            def told() -> bool:
                return sum(request.json()["type"] == "Delivery" for request in list(peer.taken)) == 2

            eventually(told, "both deliveries at the webhook")
            (bounce,) = daemon.wait_for_records("Bounce", 1)
            daemon.wait_for_records("Delivery", 2 + 7)  # those to the webhook are in the log as well
            records = [one for one in daemon.records("Delivery") if one["reception_protocol"] == "ESMTP"]
        events = [request.json() for request in peer.taken]
    one, two = sorted(records, key=lambda one: str(one["headers"]["Subject"]))
    assert (one["queue"], one["egress_pool"], one["egress_source"]) == ("spring:acme@big.test", "dedicated", "ip-2")
    assert (one["provider_name"], one["site"]) == ("big", "ip-2->mx1.big.test@smtp_client")
    assert (two["queue"], two["egress_source"]) == ("everybody@small.test!hub.test", "ip-1")
    assert "provider_name" not in two
    assert not any("X-Tenant" in message["data"] for message in sink.messages())
    assert Counter(event["type"] for event in events) == {"Reception": 3, "Delivery": 2, "Rejection": 1, "Bounce": 1}
    assert bounce["bounce_classification"] == "InvalidRecipient"
    assert {event["meta"].get("tenant") for event in events if event["type"] == "Delivery"} == {"acme", "everybody"}


def inject(daemon: Daemon, credentials: str | None, **body: Any) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if credentials is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()
    url = f"http://127.0.0.1:{daemon.port('http')}/api/inject/v1"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def test_webhooks(tmp_path: Path) -> None:
    """Injection over HTTP, settings by a memoized function, and each outcome at the application, also after trouble."""
    rules = [{"at": "rcpt", "match": "gone@", "reply": "550 5.1.1 no such user"}]
    with WebPeer([(503, "busy")]) as peer, Sink(tmp_path, rules) as sink:
        default = {"retry": "1 second", "webhook": f"http://127.0.0.1:{peer.port}/events", "token": "t0ken"}
        settings = {"default": default, "shop": {"retry": "2 seconds", "password": "geheim"}}
        (tmp_path / "settings.json").write_text(json.dumps(settings))
        with daemon_with("webhooks", tmp_path, SINK=f"[127.0.0.1]:{sink.port}") as daemon:
            answer = inject(
                daemon,
                "shop:geheim",
                envelope_sender="shop@example.com",
                recipients=[
                    {"email": "ann@ok.test", "metadata": {"order": 17}},
                    {"email": "gone@ok.test", "metadata": {"order": 18}},
                    {"email": "eve@blocked.test"},
                ],
                content={"subject": "Your order", "text_body": "Thanks!", "from": {"email": "shop@example.com"}},
            )
            assert (answer["success_count"], answer["failed_recipients"]) == (2, ["eve@blocked.test"])
            assert "not to eve@blocked.test" in answer["errors"][0]
            with pytest.raises(urllib.error.HTTPError, match="401"):
                inject(daemon, "shop:wrong", envelope_sender="", recipients=[], content="")

            def told() -> list[dict[str, Any]] | None:
                found = [one for request in list(peer.requests)[1:] for one in json.loads(request.body)]
                return found if len(found) >= 2 else None

            events = eventually(told, "two events at the application")
            daemon.wait_for_records("Bounce", 1)
            queues = {record["queue"] for record in daemon.records()}
        assert (tmp_path / "heartbeat").read_text().startswith("started ")
    assert sorted((one["kind"], one["to"], one["code"], one["order"], one["tenant"]) for one in events) == [
        ("Bounce", "gone@ok.test", 550, 18, "shop"),
        ("Delivery", "ann@ok.test", 250, 17, "shop"),
    ]
    assert {one["subject"] for one in events} == {"Your order"}
    assert {one["enhanced"] for one in events} == {2, 5}
    assert queues == {"shop@ok.test"}  # records about records stay out of the log


def test_traffic(tmp_path: Path) -> None:
    """Rates of the policy's own, moving a failed message to another tenant, scheduling, metadata from headers."""
    rules = [
        {"at": "rcpt", "match": "fail@", "reply": "451 4.3.0 not here"},
        {"at": "rcpt", "match": "spam@", "reply": "451 4.7.0 content looks odd"},
        {"at": "rcpt", "match": "late@", "reply": "451 4.2.0 busy"},
    ]
    (tmp_path / "fallback").mkdir()
    with Sink(tmp_path, rules) as primary, Sink(tmp_path / "fallback") as fallback:
        peers = {"PRIMARY": f"[127.0.0.1]:{primary.port}", "FALLBACK": f"[127.0.0.1]:{fallback.port}"}
        with daemon_with("traffic", tmp_path, **peers) as daemon:
            with daemon.smtp() as client:

                def send(to: str, subject: str, **headers: str) -> None:
                    extra = "".join(f"X-{name.title()}: {value}\r\n" for name, value in headers.items())
                    client.sendmail("a@example.com", [to], mail(subject, extra=extra))

                send("fail@one.test", "moves", tenant="t1", campaign="c1")
                send("spam@one.test", "bounces", tenant="t1")
                send("x@one.test", "discard this")
                send("x@one.test", "tomorrow", tenant="t1")
                send("x@one.test", "window", tenant="t1", schedule='{"first_attempt": "2099-01-01T00:00:00Z"}')
                for number in range(4):
                    send("x@one.test", f"slow {number}", tenant="slow")
                send("x@one.test", "urgent", tenant="slow", priority="urgent")
                for number in range(10):
                    send("x@two.test", f"bulk {number}", tenant="bulk")
            (moved,) = fallback.wait_for(1)
            primary.wait_for(1 + 10 + 1)
            (bounce,) = daemon.wait_for_records("Bounce", 1)
            records = daemon.wait_for_records("Delivery", 13)
            received = daemon.records("Reception")
            delayed = daemon.records("Delayed")
    assert "Subject: moves" in moved["data"]
    assert "X-Tenant" not in moved["data"]
    assert (bounce["response"]["code"], bounce["recipient"]) == (554, "spam@one.test")
    assert bounce["response"]["content"].endswith("given up: 451 4.7.0 content looks odd")
    (rescued,) = (record for record in records if record["recipient"] == "fail@one.test")
    assert rescued["queue"] == "c1:rescued@one.test!fallback.test"
    assert rescued["num_attempts"] == 1
    assert len(received) == 20  # `null` is recorded, too
    sources = Counter(record["egress_source"] for record in records if record["meta"].get("tenant") == "bulk")
    assert set(sources) == {"bulk-a", "bulk-b"}
    assert 6 <= sources["bulk-b"] <= 8  # weight 3 of 4
    assert {record["meta"]["x_local"] for record in received} == {"yes"}
    scheduled = [record for record in delayed if "ScheduledForLater" in record["response"]["content"]]
    assert len(scheduled) == 2
    assert any("ThrottledByThrottleInsertReadyQueue" in record["response"]["content"] for record in delayed)

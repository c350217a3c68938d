"""The policies in policy/examples, unmodified, with real peers: providers checked against the vendors' descriptions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import smtplib
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from support import openbao
from support.daemon import Daemon, Process, Sink, eventually, mail
from support.provider_stand_in import Providers, check
from support.receipts import SendgridKey
from support.smsc import Smsc
from support.webhook import WebPeer

from kumotwist.demo.google import GONE, service_account

EXAMPLES = Path(__file__).parents[2] / "policy" / "examples"
LUA_CJSON = Path("/usr/lib/x86_64-linux-gnu/lua/5.4/cjson.so")


def example(name: str, directory: Path, **env: str) -> Daemon:
    """A daemon on the example, with ports of its own."""
    settings = {"STATE_DIR": str(directory), "SMTP_LISTEN": "127.0.0.1:0", "HTTP_LISTEN": "127.0.0.1:0"}
    return Daemon(directory, EXAMPLES / f"{name}.lua", env={**settings, "RETRY_INTERVAL": "1 second", **env})


def inject(daemon: Daemon, **body: object) -> dict[str, object]:
    """POST to the injection API; its answer."""
    url = f"http://127.0.0.1:{daemon.port('http')}/api/inject/v1"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, object] = json.load(response)
    return answer


def send(daemon: Daemon, **body: object) -> dict[str, Any]:
    """POST to the send API; its answer."""
    url = f"http://127.0.0.1:{daemon.port('http')}/api/send/v1"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def key_file(directory: Path, text: str) -> str:
    path = directory / "key"
    path.write_text(text)
    return str(path)


def test_the_articles_policy(tmp_path: Path) -> None:
    """Tenants go by Mailgun and SendGrid with keys from a Vault, the rest by SMTP; the header stays in the house."""
    with (
        openbao.running(tmp_path) as vault,
        Providers(tmp_path, "--key", "s3cret") as providers,  # whoever brings another key gets a 401
        Sink(tmp_path) as sink,
        example(
            "esp_routing",
            tmp_path,
            VAULT_ADDR=vault.address,
            VAULT_TOKEN=openbao.ROOT_TOKEN,
            MAILGUN_URL=providers.url,
            SENDGRID_URL=providers.url,
            RELAY=f"[127.0.0.1]:{sink.port}",
        ) as daemon,
    ):
        vault.put("mailgun_apikey", key="s3cret")
        vault.put("sendgrid_apikey", key="s3cret")
        for tenant in ("via_mg", "via_sg"):
            answer = inject(
                daemon,
                envelope_sender="news@example.com",
                recipients=[{"email": f"{tenant}@example.org"}],
                content=f"From: News <news@example.com>\nSubject: Hi\nX-Tenant: {tenant}\n\nGrüße\n",
            )
            assert answer["success_count"] == 1, answer
        with daemon.smtp() as client:
            client.sendmail("a@example.com", ["local@example.org"], mail("local", extra="X-Tenant: other\r\n"))
            client.sendmail("a@example.com", ["mg@example.org"], mail("by SMTP", extra="X-Tenant: via_mg\r\n"))
        mailgun = providers.wait_for(2, "mailgun")
        (sendgrid,) = providers.wait_for(1, "sendgrid")
        (relayed,) = sink.wait_for(1)
    for entry in (*mailgun, sendgrid):
        check(entry)
    assert {entry["status"] for entry in mailgun} == {200}
    assert sendgrid["status"] == 202
    assert sendgrid["json"]["content"] == [{"type": "text/plain", "value": "Grüße\r\n"}]
    assert sendgrid["json"]["from"] == {"email": "news@example.com", "name": "News"}
    assert "x-tenant" not in json.dumps([*mailgun, sendgrid, relayed]).lower()
    assert {record["recipient"] for record in daemon.records("Delivery")} == {
        "via_mg@example.org",
        "via_sg@example.org",
        "mg@example.org",
        "local@example.org",
    }
    assert daemon.process is not None
    assert "s3cret" not in daemon.process.text() + json.dumps(daemon.records())


def test_by_mailbox_domain(tmp_path: Path) -> None:
    """Each mailbox domain goes by the provider that the policy names for it, wildcards included."""
    key = key_file(tmp_path, "k")
    with (
        Providers(tmp_path) as providers,
        Sink(tmp_path) as sink,
        example(
            "by_mailbox_domain",
            tmp_path,
            MAILGUN_URL=providers.url,
            SENDGRID_URL=providers.url,
            MAILGUN_KEY_FILE=key,
            SENDGRID_KEY_FILE=key,
            RELAY=f"[127.0.0.1]:{sink.port}",
        ) as daemon,
    ):
        with daemon.smtp() as client:
            for recipient in ("a@gmail.com", "b@yahoo.com", "c@mail.Yahoo.com", "d@example.org"):
                client.sendmail("s@example.com", [recipient], mail(recipient))
        (sendgrid,) = providers.wait_for(1, "sendgrid")
        mailgun = providers.wait_for(2, "mailgun")
        (relayed,) = sink.wait_for(1)
    for entry in (*mailgun, sendgrid):
        check(entry)
    assert sendgrid["json"]["personalizations"][0]["to"] == [{"email": "a@gmail.com"}]
    assert "d@example.org" in json.dumps(relayed)


def test_by_percentage(tmp_path: Path) -> None:
    """Messages spread over the routes by their shares, and each arrives once."""
    key, count = key_file(tmp_path, "k"), 60
    with (
        Providers(tmp_path) as providers,
        Sink(tmp_path) as sink,
        example(
            "by_percentage",
            tmp_path,
            SHARES="40,30",
            SENDGRID_URL=providers.url,
            SPARKPOST_URL=providers.url,
            SENDGRID_KEY_FILE=key,
            SPARKPOST_KEY_FILE=key,
            RELAY=f"[127.0.0.1]:{sink.port}",
        ) as daemon,
    ):
        with daemon.smtp() as client:
            for number in range(count):
                client.sendmail("s@example.com", [f"u{number}@example.org"], mail(str(number)))
        eventually(lambda: len(providers.requests()) + len(sink.messages()) >= count, f"{count} messages out")
    for entry in providers.requests():
        check(entry)
    delivered = Counter(record["queue"].partition("!")[2] for record in daemon.records("Delivery"))
    assert sum(delivered.values()) == count
    assert set(delivered) == {"sendgrid.route", "sparkpost.route", ""}
    assert len({record["recipient"] for record in daemon.records("Delivery")}) == count


def test_by_metadata(tmp_path: Path) -> None:
    """The application that injects chooses the route; one that does not exist is told at once."""
    key = key_file(tmp_path, "k")
    with (
        Providers(tmp_path) as providers,
        Sink(tmp_path) as sink,
        example(
            "by_metadata",
            tmp_path,
            MAILGUN_URL=providers.url,
            SPARKPOST_URL=providers.url,
            MAILGUN_KEY_FILE=key,
            SPARKPOST_KEY_FILE=key,
            RELAY=f"[127.0.0.1]:{sink.port}",
        ) as daemon,
    ):
        answer = inject(
            daemon,
            envelope_sender="news@example.com",
            content="Subject: Hello {{ name }}\n\nThis is for you.",
            recipients=[
                {"email": "ann@example.org", "name": "Ann", "metadata": {"route": "mailgun", "campaign": "autumn"}},
                {"email": "eve@example.org", "name": "Eve", "metadata": {"route": "sparkpost"}},
                {"email": "bob@example.org", "name": "Bob"},
                {"email": "joe@example.org", "name": "Joe", "metadata": {"route": "pigeon"}},
            ],
        )
        assert (answer["success_count"], answer["failed_recipients"]) == (3, ["joe@example.org"])
        assert "there is no route" in str(answer["errors"])
        mailgun = providers.wait_for(1, "mailgun")
        sparkpost = providers.wait_for(1, "sparkpost")
        sink.wait_for(1)
    check(mailgun[0])
    check(sparkpost[0])
    queues = {record["recipient"]: record["queue"] for record in daemon.records("Delivery")}
    assert queues == {
        "ann@example.org": "autumn:mailgun@example.org",
        "eve@example.org": "sparkpost@example.org",
        "bob@example.org": "smtp@example.org",
    }


def test_webhook_feed(tmp_path: Path) -> None:
    """What becomes of messages arrives in signed batches, also after the application was away."""
    secret = "feed-s3cret"
    rules = [{"at": "rcpt", "match": "bad@", "reply": "550 5.1.1 no such user"}]
    answers = [(503, "down"), *[(200, "thanks")] * 20]
    with (
        Sink(tmp_path, rules) as sink,
        WebPeer(answers) as peer,
        example(
            "webhook_feed",
            tmp_path,
            FEED_URL=f"http://127.0.0.1:{peer.port}/mail-events",
            FEED_KEY_FILE=key_file(tmp_path, secret),
            FEED_LATENCY="200ms",
            RELAY=f"[127.0.0.1]:{sink.port}",
        ) as daemon,
    ):
        with daemon.smtp() as client:
            for number in range(5):
                client.sendmail("s@example.com", [f"u{number}@example.org"], mail(f"m{number}"))
            client.sendmail("s@example.com", ["bad@example.org"], mail("bounced"))
        seen = eventually(lambda: _records(peer, secret) if len(_records(peer, secret)) >= 6 else None, "six records")
    ends = {record["headers"]["Subject"]: record["type"] for record in seen.values()}
    assert ends == {**{f"m{number}": "Delivery" for number in range(5)}, "bounced": "Bounce"}


def test_record_feed(tmp_path: Path) -> None:
    """The channel `webhook` carries log records: signed batches, after a 503 as well, for who knows either secret."""
    rules = [{"at": "rcpt", "match": "bad@", "reply": "550 5.1.1 no such user"}]
    answers = [(503, "down"), *[(200, "thanks")] * 20]
    (tmp_path / "old").write_text("feed-0ld\n")
    with (
        Sink(tmp_path, rules) as sink,
        WebPeer(answers) as peer,
        example(
            "record_feed",
            tmp_path,
            FEED_URL=f"http://127.0.0.1:{peer.port}/mail-events",
            FEED_KEY_FILE=key_file(tmp_path, "feed-s3cret\n"),
            FEED_OLD_KEY_FILE=str(tmp_path / "old"),
            FEED_LATENCY="200ms",
            RELAY=f"[127.0.0.1]:{sink.port}",
        ) as daemon,
    ):
        with daemon.smtp() as client:
            for number in range(5):
                client.sendmail("s@example.com", [f"u{number}@example.org"], mail(f"m{number}"))
            client.sendmail("s@example.com", ["bad@example.org"], mail("bounced"))

        def six() -> dict[str, dict[str, Any]] | None:
            seen = {record["id"]: record for request in peer.requests for record in json.loads(request.body)}
            return seen if len(seen) >= 6 else None

        seen = eventually(six, "six records")
        for request in peer.requests:
            for secret in (b"feed-s3cret", b"feed-0ld"):
                Webhook(secret).verify(request.body, dict(request.headers.items()))
    ends = {record["headers"]["Subject"]: record["type"] for record in seen.values()}
    assert ends == {**{f"m{number}": "Delivery" for number in range(5)}, "bounced": "Bounce"}


def test_notify(tmp_path: Path) -> None:
    """One call of the send API becomes a text and two posts; mail to a number becomes a text, too."""
    for name in ("twilio", "slack", "telegram"):
        (tmp_path / name).write_text(f"{name}-s3cret\n")
    with (
        WebPeer([(201, '{"sid": "SM1", "num_segments": "1"}')] * 2) as twilio,
        WebPeer(
            [(200, '{"ok": false, "error": "internal_error"}'), (200, '{"ok": true, "channel": "C1", "ts": "1.2"}')]
        ) as slack,
        WebPeer([(200, '{"ok": true, "result": {"message_id": 7, "chat": {"id": -100123}}}')]) as telegram,
        example(
            "notify",
            tmp_path,
            KEY_DIR=str(tmp_path),
            TWILIO_URL=f"http://127.0.0.1:{twilio.port}",
            SLACK_URL=f"http://127.0.0.1:{slack.port}",
            TELEGRAM_URL=f"http://127.0.0.1:{telegram.port}",
        ) as daemon,
    ):
        answer = send(
            daemon,
            to=[
                {"phone": "+493012345678"},
                {"chat": "#ops", "platform": "slack"},
                {"chat": "-100123", "platform": "telegram"},
            ],
            subject="Disk full",
            text="web-3 has 1 % left.",
        )
        assert answer["accepted"] == 3, answer
        with daemon.smtp() as client:
            client.sendmail("a@example.com", ["+493099999999@sms.example"], mail("by mail"))
        eventually(lambda: len(daemon.records("Delivery")) >= 4, "four deliveries")
        deliveries = {record["recipient"]: record for record in daemon.records("Delivery")}
        text = daemon.process.text() + json.dumps(daemon.records()) if daemon.process else ""
    forms = [dict(urllib.parse.parse_qsl(request.body.decode())) for request in twilio.requests]
    assert {form["To"]: form["Body"] for form in forms}["+493012345678"] == "Disk full: web-3 has 1 % left."
    assert {form["To"] for form in forms} == {"+493012345678", "+493099999999"}
    assert [json.loads(request.body)["channel"] for request in slack.requests] == ["#ops", "#ops"]
    (post,) = telegram.requests
    assert post.path == "/bottelegram-s3cret/sendMessage"
    assert json.loads(post.body)["text"] == "*Disk full*\nweb\\-3 has 1 % left\\."
    assert deliveries["+493012345678@sms"]["remote_id"] == "SM1"
    assert {record["channel"] for record in deliveries.values()} == {"twilio", "slack", "telegram"}
    assert "s3cret" not in text


def _records(peer: WebPeer, secret: str) -> dict[str, dict[str, object]]:
    """The records received so far by id; every request must be signed."""
    found = {}
    for request in list(peer.requests):
        headers = {name.lower(): value for name, value in request.headers.items()}
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
        expected = base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        found.update({record["id"]: record for record in json.loads(request.body)})
    return found


@pytest.mark.skipif(not LUA_CJSON.exists(), reason="Debian's lua-cjson is not installed")
def test_lua_c_module(tmp_path: Path) -> None:
    """A policy requires a C module; what it decodes decides, and broken input is refused."""
    with (
        Sink(tmp_path) as sink,
        example("lua_c_module", tmp_path, RELAY=f"[127.0.0.1]:{sink.port}") as daemon,
    ):
        header = 'X-Params: {"tenant": "shop", "tags": ["order", "receipt"]}\r\n'
        with daemon.smtp() as client:
            client.sendmail("s@example.com", ["a@example.org"], mail("one", extra=header))
            with pytest.raises(Exception, match="X-Params is not JSON"):
                client.sendmail("s@example.com", ["a@example.org"], mail("two", extra="X-Params: {\r\n"))
        (message,) = sink.wait_for(1)
    (delivery,) = daemon.records("Delivery")
    assert delivery["queue"] == "shop@example.org"
    assert delivery["meta"] == {"tenant": "shop", "x_tags": '["order","receipt"]'}
    assert "X-Params" not in json.dumps(message)


def test_every_kind(tmp_path: Path) -> None:
    """One call reaches a mailbox, a phone and a device; the text's receipt comes back, and a removed app is told."""
    (tmp_path / "password").write_text("secret")
    smsc = Process([sys.executable, "-m", "kumotwist.demo.standin_smsc", "--delay", "0.1"], "stdout")
    with Providers(tmp_path) as providers, Sink(tmp_path) as sink:
        account = service_account(tmp_path, f"{providers.url}/token")
        settings = {
            "SMSC": smsc.wait_for_line(r"^listening on ", 60).split()[-1],
            "SMPP_PASSWORD_FILE": str(tmp_path / "password"),
            "FCM_ACCOUNT": str(account),
            "FCM_URL": providers.url,
            "RELAY": f"[127.0.0.1]:{sink.port}",
        }
        request = {
            "to": [
                {"email": "ann@example.org"},
                {"phone": "(555) 123-4567"},
                {"device_token": "good", "platform": "fcm"},
                {"device_token": f"bad{GONE}", "platform": "fcm"},
                {"device_token": "other", "platform": "apns"},
            ],
            "from": {"email": "shop@example.com", "sms": "SHOP"},
            "subject": "Your parcel",
            "text": "It arrives tomorrow.",
            "data": {"order": 7},
        }
        with example("every_kind", tmp_path, **settings) as daemon:
            url = f"http://127.0.0.1:{daemon.port('http')}/api/send/v1"
            asked = urllib.request.Request(url, json.dumps(request).encode(), {"Content-Type": "application/json"})
            with urllib.request.urlopen(asked, timeout=30) as response:
                recipients = json.load(response)["recipients"]
            daemon.wait_for_records("Delivery", 3)
            (receipt,) = daemon.wait_for_records("Receipt", 1)
            (dead,) = daemon.wait_for_records("DeadAddress", 1)
            (relayed,) = sink.wait_for(1)
            (good, _) = sorted(providers.wait_for(2, "fcm"), key=lambda entry: entry["status"])
    smsc.popen.kill()
    smsc.wait(60)
    assert recipients[4]["error"] == "550 there is no way to push!apns from here"
    assert "Subject: Your parcel" in relayed["data"]
    assert (receipt["id"], receipt["receipt"]["state"]) == (recipients[1]["id"], "delivered")
    assert receipt["recipient"] == "+15551234567@sms"
    assert dead["id"] == recipients[3]["id"]
    assert good["json"]["message"]["notification"] == {"title": "Your parcel", "body": "It arrives tomorrow."}
    assert good["json"]["message"]["data"] == {"order": "7"}


def test_fallback(tmp_path: Path) -> None:
    """One message of one id: refused as mail, gone from the phone, and so a text; mail that was reported ends there."""
    key = SendgridKey()
    (tmp_path / "sendgrid_events").write_text(key.public)
    for name in ("sendgrid", "twilio"):
        (tmp_path / name).write_text("k")
    refusal = json.dumps({"errors": [{"message": "Does not contain a valid address.", "field": "x"}]})
    with (
        Providers(tmp_path) as google,
        WebPeer([(400, refusal), (202, "")]) as mails,
        WebPeer([(201, '{"sid": "SM1", "num_segments": "1"}')]) as texts,
    ):
        service_account(tmp_path, f"{google.url}/token").rename(tmp_path / "fcm.json")
        settings = {
            "KEY_DIR": str(tmp_path),
            "SENDGRID_URL": f"http://127.0.0.1:{mails.port}",
            "FCM_URL": google.url,
            "TWILIO_URL": f"http://127.0.0.1:{texts.port}",
        }
        with example("fallback", tmp_path, **settings) as daemon:
            _order(daemon, "ann@example.org", f"bad{GONE}")
            (delivered,) = daemon.wait_for_records("Delivery", 1)
            _order(daemon, "bob@example.org", "good")
            taken = next(one for one in daemon.wait_for_records("Delivery", 2) if one["channel"] == "sendgrid")
            told = {"event": "delivered", "email": "bob@example.org", "sg_event_id": "e1", "kumo_id": taken["id"]}
            body = json.dumps([told]).encode()
            headers = {name.replace("_", "-"): value for name, value in key.headers(body, time.time()).items()}
            url = f"http://127.0.0.1:{daemon.port('http')}/receipts/sendgrid/main"
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
                assert answer.status == 200
            (receipt,) = daemon.wait_for_records("Receipt", 1)
            eventually(lambda: not _is_waiting(daemon, taken["id"]), "the reported mail is done")
            moves = daemon.records("Fallback")
    moves.sort(key=lambda one: one["event_time"])
    assert [(one["fallback"]["to"], one["fallback"]["reason"]) for one in moves] == [
        ("push", "refused"),
        ("text", "refused"),
    ]
    assert {one["id"] for one in moves} == {delivered["id"]}
    assert (delivered["channel"], receipt["id"]) == ("twilio", taken["id"])
    (text,) = texts.requests
    assert dict(urllib.parse.parse_qsl(text.body.decode()))["To"] == "+493012345678"


def _order(daemon: Daemon, to: str, device: str) -> None:
    metadata = {"device": device, "phone": "+493012345678"}
    recipients = [{"email": to, "metadata": metadata}]
    answer = inject(
        daemon, envelope_sender="shop@example.com", content="Subject: Your code\n\n123456", recipients=recipients
    )
    assert answer["success_count"] == 1, answer


def _is_waiting(daemon: Daemon, spool_id: str) -> bool:
    url = f"http://127.0.0.1:{daemon.port('http')}/api/admin/message/v1?id={spool_id}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return bool(json.load(answer)["state"] != "finished")


def test_email_to_sms(tmp_path: Path) -> None:
    """Mail to a number's address is a text message: what was written, in characters that a handset has."""
    html = (
        "<p>The <b>back</b> door is open: <a href='https://e.example/7'>camera</a></p><p>-- <br>Alarm system</p>"
        "<blockquote>Is everything all right?</blockquote>"
    )
    as_html = "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"
    with (
        Smsc("rust") as smsc,
        example(
            "email_to_sms",
            tmp_path,
            SMSC=f"127.0.0.1:{smsc.port}",
            SMPP_PASSWORD_FILE=key_file(tmp_path, "s3cret"),
            SMS_SENDER="Alarm",
            SMS_REGION="DE",
        ) as daemon,
    ):
        with daemon.smtp() as client:
            client.sendmail("alarm@example.com", ["+15551234567@sms.example"], mail("Door", html, extra=as_html))
            client.sendmail("alarm@example.com", ["030-901820@sms.example"], mail("Long", "word " * 150))
            for recipient, body, extra, reason in (
                ("bob@sms.example", "x", "", "write a phone number before @"),
                ("+15551234567@example.org", "x", "", "only sms.example is served here"),
                (
                    "+15551234567@sms.example",
                    "MIIB",
                    "Content-Type: application/pkcs7-mime\r\n",
                    "no text that could be",
                ),
            ):
                with pytest.raises(smtplib.SMTPException, match=reason):
                    client.sendmail("alarm@example.com", [recipient], mail("Door", body, extra=extra))
        submitted: list[dict[str, str]] = []
        eventually(lambda: submitted.extend(smsc.submitted()) or len(submitted) == 4, "four submit_sm")
        eventually(lambda: len(daemon.records("Delivery")) == 2, "two deliveries")
    first = next(one for one in submitted if one["destination"] == "15551234567")
    text = "Door: The back door is open: camera (https://e.example/7)"
    assert (first["source"], bytes.fromhex(first["text"]).decode()) == ("Alarm", text)
    assert [one["destination"] for one in submitted].count("4930901820") == 3
    records = {record["recipient"]: record for record in daemon.records("Delivery")}
    assert {to: record["meta"]["segments"] for to, record in records.items()} == {
        "+15551234567@sms.example": 1,
        "030-901820@sms.example": 3,
    }
    assert records["+15551234567@sms.example"]["remote_id"].startswith("rust-")

"""Text messages through the whole daemon, to SMSCs that others wrote: out, receipts back, and subscribers' texts in."""

from __future__ import annotations

import json
import urllib.request

import pytest
from support.daemon import HTTP_LISTENER, SMTP_LISTENER, Daemon, Sink, eventually, mail, relay_policy
from support.smsc import BOTH, Smsc, needs_node

POLICY = """
local SMSC = {
  host = '127.0.0.1', port = %(port)d, system_id = 'me', password = '%(password)s', window = %(window)d,
  sender = '+15550001111', rest = '1 second', max_rest = '1 second',
}
kumo.on('pre_init', function() %(receiver)s end)
kumo.on('get_queue_config', function(domain)
  if domain == 'sms' then
    return kumo.make_queue_config {
      protocol = { smpp = SMSC }, retry_interval = '1 second', max_retry_interval = '1 second', max_age = '1 hour',
    }
  end
end)
kumo.on('sms_received', function(message)
  local sms = message:get_meta 'sms'
  if sms.to == '999' then
    kumo.reject(550, 'nobody listens to ' .. sms.to)
  end
  message:set_sender 'texts@example.com'
  message:set_recipient 'support@example.com'
  kumo.inject_message(message)
end)
"""
RECEIVER = "kumo.start_smpp_receiver(SMSC)"
LONG = "long " * 50


def policy(directory, smsc, sink=9, receiver="", window=10):
    secret = directory / "password"
    if not secret.exists():
        secret.write_text("secret\n")
    text = POLICY % {"port": smsc.port, "password": secret, "receiver": receiver, "window": window}
    return relay_policy(directory, sink, f"{SMTP_LISTENER} {HTTP_LISTENER}", text)


def inject(daemon, number, text):
    body = {
        "envelope_sender": "shop@example.com",
        "recipients": [{"email": f"{number}@sms"}],
        "content": {"text_body": text, "from": {"email": "shop@example.com"}, "subject": "x"},
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{daemon.port('http')}/api/inject/v1",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["success_count"] == 1


def arrived(smsc, count):
    """What the SMSC got, in any order."""
    found = []

    def enough():
        found.extend(smsc.submitted())
        return len(found) >= count

    eventually(enough, f"{count} messages at the SMSC")
    return found


@pytest.mark.parametrize("kind", BOTH)
def test_texts_arrive_and_receipts_come_back(kind, tmp_path) -> None:
    """By HTTP and by SMTP, short and long, in GSM and in UCS-2; each is reported as delivered, the long one once."""
    with Smsc(kind, receipts=True) as smsc, Daemon(tmp_path, policy(tmp_path, smsc)) as daemon:
        inject(daemon, "+15551230001", "price: 5€")
        inject(daemon, "+15551230002", "привет 🙂")
        inject(daemon, "+15551230003", LONG)
        with daemon.smtp() as client:
            client.sendmail("shop@example.com", ["+15551230004@sms"], mail("x", "by mail"))
        submitted = arrived(smsc, 5)
        deliveries = daemon.wait_for_records("Delivery", 4)
        receipts = daemon.wait_for_records("Receipt", 4)
    by_number = {one["destination"]: one for one in submitted}
    assert set(by_number) == {f"1555123000{number}" for number in (1, 2, 3, 4)}
    assert all((one["ton"], one["npi"], one["source"]) == (1, 1, "15550001111") for one in submitted)
    assert by_number["15551230002"]["data_coding"] == 8
    if kind == "node":
        texts = {one["destination"]: one["text"] for one in submitted if not one["udh"]}
        assert texts["15551230001"] == "price: 5€"
        assert texts["15551230002"] == "привет 🙂"
        assert "".join(one["text"] for one in submitted if one["udh"]) == LONG.strip()
    else:
        assert bytes.fromhex(by_number["15551230001"]["text"]) == b"price: 5\x1be"
        assert bytes.fromhex(by_number["15551230002"]["text"]).decode("utf-16-be") == "привет 🙂"
    long = next(one for one in deliveries if one["recipient"].startswith("+15551230003"))
    assert long["parts"] == 2
    assert len(long["remote_id"].split()) == 2
    assert all(one["delivery_protocol"] == "SMPP" for one in deliveries)
    states = sorted((one["recipient"], one["receipt"]["state"]) for one in receipts)
    assert states == [(f"+1555123000{number}@sms", "delivered") for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("kind", BOTH)
def test_an_smsc_that_is_too_busy_costs_no_message_an_attempt(kind, tmp_path) -> None:
    """RTHROTTLED and RMSGQFUL are waited out."""
    with Smsc(kind, statuses=[0x58, 0x14]) as smsc, Daemon(tmp_path, policy(tmp_path, smsc)) as daemon:
        inject(daemon, "+15551230001", "hello")
        (delivery,) = daemon.wait_for_records("Delivery", 1)
        assert len(arrived(smsc, 3)) == 3
        assert not daemon.records("TransientFailure")
    assert delivery["num_attempts"] == 0


@pytest.mark.parametrize("kind", BOTH)
def test_a_number_that_the_smsc_refuses_bounces(kind, tmp_path) -> None:
    """With the status by its name and in words."""
    with Smsc(kind, status=0x0B) as smsc, Daemon(tmp_path, policy(tmp_path, smsc)) as daemon:
        inject(daemon, "+15551230001", "hello")
        (bounce,) = daemon.wait_for_records("Bounce", 1)
    assert bounce["response"]["content"] == "ESME_RINVDSTADR (0x0B), the recipient's number is not valid"


@pytest.mark.parametrize("kind", BOTH)
def test_what_subscribers_write_becomes_mail(kind, tmp_path) -> None:
    """Over a bind that is there without a message to send; what the policy refuses, the SMSC hears of."""
    with (
        Smsc(kind) as smsc,
        Sink(tmp_path) as sink,
        Daemon(tmp_path, policy(tmp_path, smsc, sink.port, RECEIVER)) as daemon,
    ):
        eventually(lambda: smsc.sessions() == 1, "a bind")
        assert smsc.deliver("STOP") == 0
        assert smsc.deliver("hello?", destination="999") == 0x65
        (message,) = sink.wait_for(1)
        (reception,) = daemon.wait_for_records("Reception", 1)
        (rejection,) = daemon.wait_for_records("Rejection", 1)
    assert "STOP" in json.dumps(message)
    assert message["recipients"] == ["support@example.com"]
    assert reception["reception_protocol"] == "SMPP"
    assert rejection["response"]["content"] == "nobody listens to 999"


@pytest.mark.parametrize("kind", BOTH)
def test_a_receipt_after_a_restart_still_finds_its_message(kind, tmp_path) -> None:
    """The ledger outlives the daemon, and so does the number it is asked for."""
    with Smsc(kind) as smsc:
        text = policy(tmp_path, smsc, receiver=RECEIVER)
        with Daemon(tmp_path, text) as daemon:
            inject(daemon, "+15551230001", "hello")
            (delivery,) = daemon.wait_for_records("Delivery", 1)
        with Daemon(tmp_path, text) as daemon:
            eventually(lambda: smsc.sessions() == 1, "a bind")
            said = f"id:{delivery['remote_id']} sub:001 dlvrd:000 stat:EXPIRED err:021 text:hello"
            assert smsc.deliver(said, source="15551230001", destination="15550001111", esm_class=4) == 0
            (receipt,) = daemon.wait_for_records("Receipt", 1)
    assert receipt["id"] == delivery["id"]
    assert receipt["receipt"]["state"] == "expired"


def test_two_workers_have_a_bind_each_and_one_ledger(tmp_path) -> None:
    """A receipt may come over the other worker's bind; every message is reported once."""
    with Smsc("rust", receipts=True) as smsc, Daemon(tmp_path, policy(tmp_path, smsc), workers=2) as daemon:
        for number in range(20):
            inject(daemon, f"+155512300{number:02d}", "hello")
        daemon.wait_for_records("Delivery", 20)
        receipts = daemon.wait_for_records("Receipt", 20)
        assert smsc.sessions() == 2
    assert len({one["id"] for one in receipts}) == len(receipts) == 20
    assert {one["receipt"]["state"] for one in receipts} == {"delivered"}


@needs_node
def test_what_a_killed_daemon_had_not_sent_goes_out_after_the_restart(tmp_path) -> None:
    """Everything that was accepted arrives; what was out without an answer may arrive twice."""
    with Smsc("node", silent=True) as smsc:
        text = policy(tmp_path, smsc, window=2)
        with Daemon(tmp_path, text) as daemon:
            for number in range(5):
                inject(daemon, f"+1555123000{number}", "hello")
            first = arrived(smsc, 2)
            daemon.kill()
            daemon = Daemon(tmp_path, text)
            smsc.script()
            with daemon:
                daemon.wait_for_records("Delivery", 5)
        numbers = [one["destination"] for one in first + smsc.submitted()]
    assert set(numbers) == {f"1555123000{number}" for number in range(5)}
    assert len(numbers) == 7


@needs_node
def test_a_password_that_is_mended_is_used_without_a_restart(tmp_path) -> None:
    """Mail waits while the SMSC refuses us, and goes when the secret is right; nothing bounces."""
    (tmp_path / "password").write_text("mistaken\n")
    with Smsc("node", password="secret") as smsc, Daemon(tmp_path, policy(tmp_path, smsc)) as daemon:
        inject(daemon, "+15551230001", "hello")
        failure, *_ = daemon.wait_for_records("TransientFailure", 1)
        (tmp_path / "password").write_text("secret\n")
        daemon.wait_for_records("Delivery", 1)
        assert not daemon.records("Bounce")
    assert "ESME_RINVPASWD (0x0E), the password is wrong" in failure["response"]["content"]
    assert "mistaken" not in json.dumps(failure)


@needs_node
def test_a_lost_bind_comes_back(tmp_path) -> None:
    """The SMSC is restarted; what was in doubt and what came meanwhile goes out."""
    with Smsc("node", silent=True) as smsc, Daemon(tmp_path, policy(tmp_path, smsc)) as daemon:
        inject(daemon, "+15551230001", "first")
        arrived(smsc, 1)
        smsc.script()
        smsc.drop()
        inject(daemon, "+15551230002", "second")
        daemon.wait_for_records("Delivery", 2)
        (doubt,) = daemon.records("TransientFailure")[:1]
    assert "unknown whether it was taken" in doubt["response"]["content"]

"""The JSON form of log records."""

import json

import pytest

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.core.outcome import Peer
from kumotwist.core.receipt import ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import EnhancedCode, Response
from kumotwist.records import dispositions

NOW = 1795462177.25
USER = EnvelopeAddress("user", "example.org")

#: KumoMTA's order (kumo-log-types); the last five only when known.
FIELDS = [
    "type",
    "id",
    "sender",
    "recipient",
    "queue",
    "site",
    "size",
    "response",
    "peer_address",
    "timestamp",
    "event_time",
    "created",
    "created_time",
    "num_attempts",
    "bounce_classification",
    "egress_pool",
    "egress_source",
    "source_address",
    "feedback_report",
    "meta",
    "headers",
    "delivery_protocol",
    "reception_protocol",
    "nodeid",
]
OPTIONAL = ["tls_cipher", "tls_protocol_version", "tls_peer_subject_name", "provider_name", "session_id"]


def new_message(**meta):
    return Message(IdGenerator(lambda: NOW - 10)(), USER, (USER,), meta, b"x")


def written(**changes):
    fields = {"type": RecordType.DELIVERY, "event_time": NOW, "response": Response(250, "ok")}
    return json.loads(dispositions.encode(dispositions.build(Record(**{**fields, **changes}), "node")))


def test_a_plain_record_has_every_field_in_order():
    """Readers find each field in its place, null when it is not known."""
    message = new_message(reception_protocol="ESMTP")
    record = written(message=message, sender="a@b", recipients=("c@d",), queue="d", site="s->d@smtp_client", size=1)
    assert list(record) == FIELDS
    assert record["id"] == message.id.hex()
    assert record["recipient"] == "c@d"
    assert record["response"] == {"code": 250, "enhanced_code": None, "content": "ok", "command": None}
    assert (record["timestamp"], record["event_time"]) == (1795462177, "2026-11-23T19:29:37.250000000Z")
    assert (record["created"], record["created_time"]) == (1795462167, "2026-11-23T19:29:27.250000000Z")
    assert record["bounce_classification"] == "Uncategorized"
    assert record["reception_protocol"] == "ESMTP"
    assert record["nodeid"] == "node"
    for name in [
        "peer_address",
        "egress_pool",
        "egress_source",
        "source_address",
        "feedback_report",
        "delivery_protocol",
    ]:
        assert record[name] is None


def test_what_is_known_of_the_peer_is_there():
    """TLS facts, addresses and session of the connection follow at the end."""
    peer = Peer("mx.example.org", "10.0.0.1:25", "ESMTP", "10.0.0.2:0", "AES", "TLSv1.3", ("CN=mx",), "0a-session")
    record = written(peer=peer, provider_name="big", egress_pool="p", egress_source="s")
    assert list(record) == FIELDS + OPTIONAL
    assert record["peer_address"] == {"name": "mx.example.org", "addr": "10.0.0.1"}
    assert record["source_address"] == {"address": "10.0.0.2:0"}
    assert record["delivery_protocol"] == "ESMTP"
    assert record["tls_peer_subject_name"] == ["CN=mx"]
    assert [record[name] for name in ("provider_name", "session_id", "egress_pool")] == ["big", "0a-session", "p"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("[::1]:25", "::1"), ("10.0.0.1:25", "10.0.0.1"), ("", "")],
)
def test_peer_addresses_have_no_port(given, shown):
    """`peer_address.addr` is an IP address alone."""
    assert written(peer=Peer("x", given, "ESMTP"))["peer_address"]["addr"] == shown


def test_a_reception_has_no_delivery_protocol():
    """The protocol of the client's connection is not one of delivery."""
    record = written(type=RecordType.RECEPTION, peer=Peer("client", "127.0.0.1:9", "ESMTP"))
    assert record["delivery_protocol"] is None


def test_several_recipients_make_a_list_and_codes_an_object():
    """One string for one recipient, a list for more."""
    response = Response(550, "no\nsuch\r\nuser", EnhancedCode(5, 1, 1), "RCPT TO:<x@y>\r\n")
    record = written(recipients=("a@b", "c@d"), response=response)
    assert record["recipient"] == ["a@b", "c@d"]
    assert record["response"] == {
        "code": 550,
        "enhanced_code": {"class": 5, "subject": 1, "detail": 1},
        "content": "no\\r\\nsuch\\r\\nuser",
        "command": "RCPT TO:<x@y>\r\n",
    }


def test_a_rejection_has_no_message():
    """Id and queue are empty, and it was created when it happened."""
    record = written(type=RecordType.REJECTION, sender="a@b", recipients=("c@d",), meta={"x": 1})
    assert (record["id"], record["queue"], record["reception_protocol"]) == ("", "", None)
    assert record["created"] == record["timestamp"]
    assert written(type=RecordType.REJECTION)["recipient"] == ""


@pytest.mark.parametrize("value", [1 << 80, "\ud800", {"deep": ["\udfff"]}])
def test_values_that_are_no_json_do_not_lose_the_record(value):
    """A strange value in meta is written somehow, the rest of the record as ever."""
    built = dispositions.build(Record(type=RecordType.BOUNCE, event_time=NOW, response=Response(550, "\ud801")), "node")
    built.meta = {"x": value}
    line = dispositions.encode(built)
    assert b"\n" not in line
    assert json.loads(line)["type"] == "Bounce"


def test_a_receipt_has_its_own_fields_behind_the_rest():
    """What a provider reported stands in `receipt`; the message's id and times are those of the message."""
    spool_id = IdGenerator(lambda: NOW - 10)()
    event = ReceiptEvent(
        channel="twilio",
        account="main",
        state=ReceiptState.FAILED,
        class_=ReceiptClass.HARD,
        text="30005 Unknown destination handset",
        event_time=NOW - 1,
        event_id="e1",
        facts={"MessagePrice": 0.01},
    )
    record = written(type=RecordType.RECEIPT, message_id=spool_id, receipt=event, remote_id="SM1", meta={"a": 1})
    assert list(record) == [*FIELDS, "channel", "account", "remote_id", "receipt"]
    assert (record["id"], record["created"]) == (spool_id.hex(), int(NOW - 10))
    assert record["receipt"] == {
        "state": "failed",
        "class": "hard",
        "text": "30005 Unknown destination handset",
        "event_time": "2026-11-23T19:29:36.250000000Z",
        "event_id": "e1",
        "facts": {"MessagePrice": 0.01},
    }


def test_a_delivery_says_where_receipts_will_come_from():
    """Channel, account, the provider's id and the parts of a long SMS, where there are any."""
    peer = Peer("api", "127.0.0.1:443", "twilio", channel="twilio", account="main")
    record = written(message=new_message(), peer=peer, remote_id="a b", parts=2)
    assert [record[name] for name in ("channel", "account", "remote_id", "parts")] == ["twilio", "main", "a b", 2]


def test_a_dead_address_names_the_address_that_the_application_gave():
    """The recipient is a stand-in for the token; the record says which token to drop."""
    message = new_message(to={"device_token": "abc"})
    record = written(type=RecordType.DEAD_ADDRESS, message=message, recipients=("1f@push",))
    assert record["address"] == {"device_token": "abc"}
    record = written(type=RecordType.DEAD_ADDRESS, message=new_message(), recipients=("+1555@sms",))
    assert record["address"] == "+1555@sms"

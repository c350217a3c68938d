"""What goes along with a text comes back with its receipt, in callbacks as each vendor documents them."""

import json
from importlib import import_module
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from support.fakes_egress import make_message

from kumotwist.config.keysource import LiteralKey
from kumotwist.core.outcome import Peer
from kumotwist.egress.api.judge import Judge
from kumotwist.egress.protocols import load
from kumotwist.proto.receipts.callback import Callback
from kumotwist.proto.receipts.schemes import SCHEMES

JUDGE = Judge(Peer("gw", "gw", "HTTP"), (), 300.0, lambda: 0.0)
KEY = LiteralKey(b"key-of-the-test")


def request_of(channel, message):
    """The request that the contract suite's options make of a message."""
    case = import_module(f"support.apicases.{channel}").CASE
    kind = load(channel)
    options = case.options("https://gw.test", KEY)
    kind = kind.__new__(kind)
    kind.judge = lambda *_: JUDGE
    (call,) = kind.dialect(options, JUDGE.peer).plan([message], 0.0)
    return call.request


def as_form(given):
    return urlencode(given).encode(), "application/x-www-form-urlencoded"


def as_json(given):
    return json.dumps(given).encode(), "application/json"


#: By channel: where our URL stands in the request, and what the vendor posts to it.
BY_URL = {
    "twilio": (
        lambda body: dict(parse_qsl(body))["StatusCallback"],
        as_form({"MessageSid": "S", "MessageStatus": "sent"}),
    ),
    "plivo": (lambda body: json.loads(body)["url"], as_form({"MessageUUID": "u", "Status": "delivered", "To": "49"})),
    "telnyx": (
        lambda body: json.loads(body)["webhook_url"],
        as_json(
            {
                "data": {
                    "event_type": "message.finalized",
                    "id": "e",
                    "payload": {"id": "p", "to": [{"phone_number": "+49", "status": "delivered"}]},
                }
            }
        ),
    ),
    "brevo_sms": (
        lambda body: json.loads(body)["webUrl"],
        as_json({"msg_status": "delivered", "messageId": 1, "to": "49", "tag": "parcels"}),
    ),
    "vonage": (
        lambda body: dict(parse_qsl(body))["callback"],
        as_json({"messageId": "m", "status": "delivered", "msisdn": "49"}),
    ),
}


@pytest.mark.parametrize("channel", BY_URL)
def test_our_id_comes_back_in_the_url(channel):
    """Where the gateway keeps no metadata, the URL that it calls has our id in its query."""
    message = make_message("+4930123456@sms", body=b"Subject: x\r\n\r\nhello\r\n")
    found, (body, kind) = BY_URL[channel]
    url = found(request_of(channel, message).body.decode())
    headers = {"content-type": kind}
    callback = Callback(
        method="POST", url=url, query=urlsplit(url).query, header=lambda name: headers.get(name.lower()), body=body
    )
    (event,) = SCHEMES[channel].parse(callback)
    assert event.spool_id == message.id


def test_kannel_calls_our_url_as_we_wrote_it():
    """The `dlr-url` with what Kannel fills in is what the receipt's reader expects."""
    message = make_message("+4930123456@sms", body=b"Subject: x\r\n\r\nhello\r\n")
    headers = dict(request_of("kannel", message).headers)
    url = headers[b"X-Kannel-dlr-url"].decode()
    for mark, value in (("%d", "1"), ("%A", "stat%3ADELIVRD"), ("%p", "%2B4930123456"), ("%F", "abc"), ("%T", "170")):
        url = url.replace(mark, value)
    callback = Callback(method="GET", url=url, query=urlsplit(url).query, header=lambda name: None)
    (event,) = SCHEMES["kannel"].parse(callback)
    assert (event.spool_id, event.state.value, event.remote_id) == (message.id, "delivered", "abc")


#: By channel: what of the request comes back, and what the vendor posts with it.
BY_METADATA = {
    "vonage_messages": lambda sent: {"message_uuid": "u", "status": "delivered", "client_ref": sent["client_ref"]},
    "sinch": lambda sent: {
        "type": "recipient_delivery_report_sms",
        "batch_id": "b",
        "recipient": "49",
        "status": "Delivered",
        "code": 0,
        "client_reference": sent["client_reference"],
    },
    "infobip": lambda sent: {
        "results": [
            {
                "messageId": "m",
                "to": "49",
                "status": {"groupId": 3, "groupName": "DELIVERED", "name": "DELIVERED_TO_HANDSET"},
                "callbackData": sent["messages"][0]["webhooks"]["callbackData"],
            }
        ]
    },
    "bird": lambda sent: {"payload": {"id": "p", "status": "delivered", "reference": sent["reference"]}},
    "aws_sms": lambda sent: {
        "MessageId": "sns",
        "Message": json.dumps({"eventType": "TEXT_DELIVERED", "messageId": "m", "context": sent["Context"]}),
    },
}


@pytest.mark.parametrize("channel", BY_METADATA)
def test_our_id_comes_back_in_the_metadata(channel):
    """Where the gateway keeps something for us, it gives our id back."""
    message = make_message("+4930123456@sms", body=b"Subject: x\r\n\r\nhello\r\n")
    body, kind = as_json(BY_METADATA[channel](json.loads(request_of(channel, message).body)))
    callback = Callback(method="POST", url="https://mta.test/", header={"content-type": kind}.get, body=body)
    (event,) = SCHEMES[channel].parse(callback)
    assert event.spool_id == message.id

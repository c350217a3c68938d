"""Telnyx as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.texts import COMMON, STATUS_URL, TO, WORDS, callback

from kumotwist.egress.sms.telnyx import TelnyxOptions

SCHEMA = schema("telnyx_messages_v2.derived.json", "schemas", "MessageSendParams")


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value == {
        "from": "SHOP",
        "to": TO,
        "text": WORDS,
        "type": "SMS",
        "encoding": "gsm7",
        "messaging_profile_id": "profile1",
        "webhook_url": callback(spool_id),
        "use_profile_webhooks": False,
    }


def error(status, code, title):
    return Said(status, {"errors": [{"code": code, "title": title, "detail": "in more words"}]})


CASE = ApiCase(
    name="telnyx",
    options=lambda url, key: TelnyxOptions(
        base_url=url, api_key=key, sender="SHOP", messaging_profile="profile1", status_url=STATUS_URL
    ),
    path="/v2/messages",
    accepted=Said(200, {"data": {"id": "40385f64", "parts": 2, "to": [{"status": "queued"}], "errors": []}}),
    remote_id="40385f64",
    permanent=[
        error(400, "40310", "Invalid 'to' address"),
        error(403, "40300", "Blocked due to STOP message"),
        Said(200, {"data": {"id": "40385f64", "errors": [{"code": "40001", "title": "Not routable"}]}}),
    ],
    account=[error(400, "40305", "Invalid 'from' address"), error(400, "20100", "Insufficient Funds")],
    transient=[error(400, "10007", "Unexpected error")],
    throttled=[(error(400, "40318", "Message queue full"), 10.0)],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == f"Bearer {key}",
    **COMMON,
)
BROKEN = [{"text": "hi", "from": "SHOP"}, {"to": TO, "encoding": "latin1"}, {"to": [TO], "text": "hi"}]

"""Plivo as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.texts import COMMON, STATUS_URL, TO, WORDS, basic, callback

from kumotwist.config.option import Duration
from kumotwist.egress.sms.plivo import PlivoOptions

SCHEMA = schema("plivo_message.hand.json", "schemas", "SendMessage")


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value == {
        "src": "SHOP",
        "dst": TO,
        "text": WORDS,
        "type": "sms",
        "url": callback(spool_id),
        "method": "POST",
        "message_expiry": 600,
    }


CASE = ApiCase(
    name="plivo",
    options=lambda url, key: PlivoOptions(
        base_url=url, auth_token=key, auth_id="MA1", sender="SHOP", status_url=STATUS_URL, validity=Duration(600.0)
    ),
    path="/v1/Account/MA1/Message/",
    accepted=Said(202, {"api_id": "db34", "message": "message(s) queued", "message_uuid": ["db3ce55a"]}),
    remote_id="db3ce55a",
    permanent=[Said(400, {"api_id": "db34", "error": "dst parameter is invalid"})],
    account=[Said(404, {"api_id": "db34", "error": "not found"}), Said(400, {"error": "Insufficient credit"})],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == basic("MA1", key),
    **COMMON,
)
BROKEN = [
    {"src": "SHOP", "text": "hi"},
    {"dst": TO, "text": "hi"},
    {"src": "SHOP", "powerpack_uuid": "p1", "dst": TO, "text": "hi"},
    {"src": "SHOP", "dst": TO, "text": "hi", "message_expiry": "600"},
]

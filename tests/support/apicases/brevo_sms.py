"""Brevo's SMS API as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.texts import COMMON, STATUS_URL, TO, WORDS, callback

from kumotwist.egress.sms.brevo_sms import BrevoSmsOptions

SCHEMA = schema("brevo.hand.json", "schemas", "SendTransacSms")


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value == {
        "sender": "SHOP",
        "recipient": TO.removeprefix("+"),
        "content": WORDS,
        "type": "transactional",
        "unicodeEnabled": False,
        "tag": "parcels",
        "webUrl": callback(spool_id),
    }


CASE = ApiCase(
    name="brevo_sms",
    options=lambda url, key: BrevoSmsOptions(
        base_url=url, api_key=key, sender="SHOP", tag="parcels", status_url=STATUS_URL
    ),
    path="/v3/transactionalSMS/send",
    accepted=Said(201, {"reference": "ab1", "messageId": 1511882900176220, "smsCount": 2, "usedCredits": 0.7}),
    remote_id="1511882900176220",
    permanent=[Said(400, {"code": "invalid_parameter", "message": "Invalid telephone number"})],
    account=[Said(400, {"code": "not_enough_credits", "message": "buy some"})],
    check=check,
    shows=lambda seen, key: seen.header("api-key") == key,
    **COMMON,
)
BROKEN = [
    {"sender": "SHOP", "content": "hi"},
    {"sender": "A name of many letters", "recipient": "4930123456", "content": "hi"},
    {"sender": "SHOP", "recipient": "4930123456", "content": "hi", "tags": "x"},
]

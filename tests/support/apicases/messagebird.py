"""Bird's older API, MessageBird's, as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.texts import COMMON, STATUS_URL, TO, WORDS, callback

from kumotwist.config.option import Duration
from kumotwist.egress.sms.bird import BirdOptions

SCHEMA = schema("bird_channels.hand.json", "schemas", "MessageBirdMessage")


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value == {
        "originator": "SHOP",
        "recipients": [TO.removeprefix("+")],
        "body": WORDS,
        "reference": spool_id,
        "datacoding": "plain",
        "reportUrl": callback(spool_id),
        "validity": 600,
    }


def error(status, code, description):
    return Said(status, {"errors": [{"code": code, "description": description, "parameter": "recipients"}]})


CASE = ApiCase(
    name="bird",
    options=lambda url, key: BirdOptions(
        base_url=url, access_key=key, sender="SHOP", status_url=STATUS_URL, validity=Duration(600.0)
    ),
    path="/messages",
    accepted=Said(201, {"id": "e8077d803532", "recipients": {"totalSentCount": 1, "items": [{"status": "sent"}]}}),
    remote_id="e8077d803532",
    permanent=[error(422, 9, "no (correct) recipients found"), error(422, 10, "originator is invalid")],
    account=[error(422, 25, "Not enough balance"), error(400, 2, "Request not allowed (incorrect access_key)")],
    transient=[error(400, 99, "Internal error")],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == f"AccessKey {key}",
    **COMMON,
)
BROKEN = [
    {"originator": "SHOP", "body": "hi"},
    {"originator": "SHOP", "recipients": ["+49301"], "body": "hi"},
    {"originator": "SHOP", "recipients": ["4930123456"], "body": "hi", "datacoding": "gsm"},
]

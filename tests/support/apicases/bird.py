"""Bird as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.texts import COMMON, TO, WORDS

from kumotwist.egress.sms.bird import BirdOptions

SCHEMA = schema("bird_channels.hand.json", "schemas", "SendTextMessage")


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value == {
        "receiver": {"contacts": [{"identifierKey": "phonenumber", "identifierValue": TO}]},
        "body": {"type": "text", "text": {"text": WORDS}},
        "reference": spool_id,
    }


CASE = ApiCase(
    name="bird",
    options=lambda url, key: BirdOptions(base_url=url, access_key=key, workspace="w1", channel_id="c1"),
    path="/workspaces/w1/channels/c1/messages",
    accepted=Said(202, {"id": "a1405560", "status": "accepted"}),
    remote_id="a1405560",
    permanent=[Said(422, {"code": "InvalidPayload", "message": "receiver is invalid"})],
    account=[Said(404, {"code": "NotFound", "message": "no such channel"})],
    transient=[Said(409, {"code": "Conflict", "message": "the channel is not active"})],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == f"AccessKey {key}",
    **COMMON,
)
BROKEN = [
    {"body": {"type": "text", "text": {"text": "hi"}}},
    {"receiver": {"contacts": []}, "body": {"type": "text", "text": {"text": "hi"}}},
    {"receiver": {"contacts": [{"identifierValue": TO}]}, "body": {"type": "text", "text": "hi"}},
]

"""Vonage's Messages API as the contract suite meets it, by the account's secret."""

from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.texts import COMMON, STATUS_URL, TO, WORDS, basic, callback

from kumotwist.config.option import Duration
from kumotwist.egress.sms.vonage_messages import VonageMessagesOptions

SCHEMA = schema("vonage_messages_v1.derived.json", "schemas", "Sms")


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value == {
        "channel": "sms",
        "message_type": "text",
        "from": "SHOP",
        "to": TO.removeprefix("+"),
        "text": WORDS,
        "client_ref": spool_id,
        "sms": {"encoding_type": "text"},
        "ttl": 600,
        "webhook_url": callback(spool_id),
        "webhook_version": "v1",
    }


def error(status, code, title):
    kind = f"https://developer.vonage.com/api-errors/messages#{code}"
    return Said(status, {"type": kind, "title": title, "detail": "in more words", "instance": "bf0ca0bf"})


CASE = ApiCase(
    name="vonage_messages",
    options=lambda url, key: VonageMessagesOptions(
        base_url=url, api_secret=key, api_key="abcd1234", sender="SHOP", status_url=STATUS_URL, validity=Duration(600.0)
    ),
    path="/v1/messages",
    accepted=Said(202, {"message_uuid": "aaaaaaaa-bbbb"}),
    remote_id="aaaaaaaa-bbbb",
    permanent=[error(422, 1020, "Invalid params"), error(403, 1050, "Number barred")],
    account=[error(422, 1070, "Partner quota exceeded"), error(422, 1120, "Illegal Sender Address - rejected")],
    transient=[error(422, 1030, "Internal error")],
    throttled=[(error(422, 1000, "Throttled"), 10.0)],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == basic("abcd1234", key),
    **COMMON,
)
BROKEN = [
    {"channel": "sms", "message_type": "text", "from": "SHOP", "text": "hi"},
    {"channel": "sms", "message_type": "text", "from": "SHOP", "to": TO, "text": "hi"},
    {"channel": "sms", "message_type": "text", "from": "SHOP", "to": "4930123456", "text": "hi", "ttl": 1},
]

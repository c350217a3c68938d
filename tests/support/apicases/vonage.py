"""Vonage's SMS API as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, schema
from support.apicases.texts import COMMON, STATUS_URL, TO, WORDS, callback, form

from kumotwist.config.option import Duration
from kumotwist.egress.sms.vonage import VonageOptions

SCHEMA = schema("vonage_sms.json", "components", "schemas", "NewMessage")


def typed(fields):
    """A form's fields with the types that the description gives them."""
    return {**fields, "ttl": int(fields["ttl"])} if "ttl" in fields else fields


def check(seen, spool_id):
    fields = form(seen)
    SCHEMA.validate(typed(fields))
    assert fields == {
        "api_key": "abcd1234",
        "api_secret": fields["api_secret"],
        "from": "SHOP",
        "to": TO.removeprefix("+"),
        "text": WORDS,
        "type": "text",
        "client-ref": spool_id,
        "callback": callback(spool_id),
        "ttl": "600000",
    }


def said(*statuses):
    """Each part with its status."""
    parts = [
        {"to": "4930123456", "message-id": f"0A{number}", "status": status}
        if status == "0"
        else {"status": status, "error-text": f"error {status}"}
        for number, status in enumerate(statuses)
    ]
    return Said(200, {"message-count": str(len(parts)), "messages": parts})


CASE = ApiCase(
    name="vonage",
    options=lambda url, key: VonageOptions(
        base_url=url, api_secret=key, api_key="abcd1234", sender="SHOP", status_url=STATUS_URL, validity=Duration(600.0)
    ),
    path="/sms/json",
    accepted=said("0", "0"),
    remote_id="0A0 0A1",
    permanent=[said("3"), said("6"), said("7"), said("29"), said("0", "7")],
    account=[said("4"), said("8"), said("9"), said("15")],
    transient=[said("5"), said("999")],
    throttled=[(said("1"), 10.0)],
    check=check,
    shows=lambda seen, key: form(seen)["api_secret"] == key,
    **COMMON,
)
BROKEN = [
    {"api_key": "abcd1234", "api_secret": "abcdef", "from": "SHOP", "text": "hi"},
    {"api_key": "abcd1234", "api_secret": "abcdef", "from": "SHOP", "to": "+4930123456789012", "text": "hi"},
    {"api_key": "abc", "api_secret": "abcdef", "from": "SHOP", "to": "4930123456", "text": "hi"},
]

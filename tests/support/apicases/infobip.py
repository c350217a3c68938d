"""Infobip as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.texts import COMMON, STATUS_URL, TO, WORDS, callback

from kumotwist.config.option import Duration
from kumotwist.egress.sms.infobip import InfobipOptions

SCHEMA = schema("infobip_sms_v3.derived.json", "schemas", "SmsRequest")


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    (message,) = value["messages"]
    assert message == {
        "sender": "SHOP",
        "destinations": [{"to": TO.removeprefix("+")}],
        "content": {"text": WORDS},
        "options": {"validityPeriod": {"amount": 10, "timeUnit": "MINUTES"}},
        "webhooks": {
            "delivery": {"url": callback(spool_id)},
            "contentType": "application/json",
            "callbackData": spool_id,
        },
    }


def said(group, name, **more):
    status = {"groupId": group, "groupName": name.partition("_")[0], "name": name, "description": "in words"}
    return Said(200, {"bulkId": "b1", "messages": [{"messageId": "2250be2d", "status": status, **more}]})


CASE = ApiCase(
    name="infobip",
    options=lambda url, key: InfobipOptions(
        base_url=url, api_key=key, sender="SHOP", status_url=STATUS_URL, validity=Duration(600.0)
    ),
    path="/sms/3/messages",
    accepted=said(1, "PENDING_ACCEPTED", details={"messageCount": 2}),
    remote_id="2250be2d",
    permanent=[
        said(5, "REJECTED_DESTINATION"),
        said(2, "UNDELIVERABLE_REJECTED_OPERATOR"),
        said(4, "EXPIRED_EXPIRED"),
        said(5, "REJECTED_SOMETHING_NEW"),
        Said(400, {"errorCode": "E400", "description": "Bad request", "violations": [{"property": "messages"}]}),
    ],
    account=[
        said(5, "REJECTED_NOT_ENOUGH_CREDITS"),
        said(5, "REJECTED_SENDER"),
        Said(403, {"requestError": {"serviceException": {"messageId": "FORBIDDEN", "text": "no"}}}),
    ],
    transient=[said(5, "REJECTED_SYSTEM_ERROR")],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == f"App {key}",
    **COMMON,
)
BROKEN = [
    {"messages": [{"content": {"text": "hi"}}]},
    {"messages": [{"destinations": [{"to": TO}]}]},
    {"messages": [{"destinations": [TO], "content": {"text": "hi"}}]},
]

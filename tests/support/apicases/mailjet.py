"""Mailjet as the contract suite meets it."""

from base64 import b64encode

from support.apicases.case import ApiCase, Said, as_json, schema

from kumotwist.egress.esp.mailjet import MailjetOptions

SCHEMA = schema("mailjet_v3.1.hand.json", "schemas", "SendRequest")
GOOD = {"From": {"Email": "a@src.test"}, "To": [{"Email": "b@dest.test"}], "TextPart": "x"}
BROKEN = (
    {"Messages": []},
    {"Messages": [{**GOOD, "To": []}]},
    {"Messages": [{**GOOD, "To": [{"Name": "b"}]}]},
    {"Messages": [{**GOOD, "CustomID": 7}]},
    {"Messages": [GOOD] * 51},
    GOOD,
)


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    (one,) = value["Messages"]
    assert one["CustomID"] == spool_id
    assert one["From"] == {"Email": "ann@src.test", "Name": "Ann"}
    assert one["To"] == [{"Email": "to@dest.test"}]


def basic(key):
    return "Basic " + b64encode(f"public:{key}".encode()).decode()


def taken(count):
    to = {"Email": "to@dest.test", "MessageUUID": "123", "MessageID": 456, "MessageHref": "https://api.mailjet.com/x"}
    return Said(200, {"Messages": [{"Status": "success", "To": [to]}] * count})


def error(code, status=400):
    one = {"ErrorIdentifier": "x", "ErrorCode": code, "StatusCode": status, "ErrorMessage": "in words"}
    return {"Messages": [{"Status": "error", "Errors": [one]}]}


def whole(code):
    return {"ErrorIdentifier": "x", "ErrorCode": code, "StatusCode": 400, "ErrorMessage": "in words"}


CASE = ApiCase(
    name="mailjet",
    options=lambda url, key: MailjetOptions(base_url=url, api_key="public", secret_key=key),
    path="/v3.1/send",
    accepted=taken(1),
    accepted_together=taken,
    remote_id="456",
    permanent=[
        Said(400, error("mj-0013")),
        Said(200, error("send-0011")),
        Said(400, whole("mj-0002")),
    ],
    account=[Said(400, error("send-0008", 403)), Said(401, whole("mj-0001"))],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == basic(key),
)

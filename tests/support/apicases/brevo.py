"""Brevo as the contract suite meets it."""

import uuid

from support.apicases.case import ApiCase, Said, as_json, schema

from kumotwist.egress.esp.brevo import BrevoOptions

SCHEMA = schema("brevo.hand.json", "schemas", "SendSmtpEmail")
GOOD = {"sender": {"email": "a@src.test"}, "to": [{"email": "b@dest.test"}], "textContent": "x"}
BROKEN = (
    {**GOOD, "to": [{"name": "b"}]},
    {**GOOD, "to": [{"email": "b@dest.test"}] * 100},
    {**GOOD, "attachment": [{"filename": "a.pdf", "content": "eA=="}]},
    {**GOOD, "tags": "one"},
    {**GOOD, "from": "a@src.test"},
)


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value["headers"]["X-Mailin-custom"] == spool_id
    assert uuid.UUID(value["headers"]["idempotencyKey"]).version == 4
    assert value["sender"] == {"email": "ann@src.test", "name": "Ann"}
    assert value["to"] == [{"email": "to@dest.test"}]


def error(code):
    return {"code": code, "message": "in words"}


CASE = ApiCase(
    name="brevo",
    options=lambda url, key: BrevoOptions(base_url=url, api_key=key),
    path="/v3/smtp/email",
    accepted=Said(201, {"messageId": "<202611250800.1@smtp-relay.mailin.fr>"}),
    remote_id="<202611250800.1@smtp-relay.mailin.fr>",
    permanent=[Said(400, error("invalid_parameter")), Said(400, error("missing_parameter")), Said(413)],
    account=[Said(400, error("not_enough_credits")), Said(400, error("account_under_validation"))],
    check=check,
    shows=lambda seen, key: seen.header("api-key") == key,
)

"""Resend as the contract suite meets it: a single e-mail, which carries an idempotency key."""

from support.apicases.case import ApiCase, Said, as_json, schema

from kumotwist.egress.esp.resend import ResendOptions

SCHEMA = schema("resend.emails.json", "components", "schemas", "SendEmailRequest")
BATCH = schema(
    "resend.emails.json",
    *("paths", "/emails/batch", "post", "requestBody", "content", "application/json", "schema"),
)
GOOD = {"from": "a@src.test", "to": ["b@dest.test"], "subject": "x", "text": "y"}
BROKEN = (
    {"from": "a@src.test", "to": ["b@dest.test"]},
    {**GOOD, "to": []},
    {**GOOD, "to": ["b@dest.test"] * 51},
    {**GOOD, "tags": [{"name": 7}]},
    {**GOOD, "headers": ["X-A: 1"]},
)


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value["tags"] == [{"name": "kumo_id", "value": spool_id}]
    assert (value["from"], value["to"]) == ("Ann <ann@src.test>", ["to@dest.test"])
    key = seen.header("idempotency-key")
    assert key.startswith(f"{spool_id}-")
    assert len(key) <= 256


def error(code, name):
    return {"statusCode": code, "name": name, "message": "in words"}


CASE = ApiCase(
    name="resend",
    options=lambda url, key: ResendOptions(base_url=url, api_key=key, batch_size=1),
    path="/emails",
    accepted=Said(200, {"id": "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}),
    remote_id="49a3999c-0ce1-4ea6-ab68-afcd6dc2e794",
    permanent=[Said(400, error(400, "validation_error")), Said(422, error(422, "missing_required_field"))],
    account=[Said(403, error(403, "validation_error"))],
    transient=[Said(409, error(409, "concurrent_idempotent_requests"))],
    throttled=[
        (Said(429, error(429, "daily_quota_exceeded")), 300.0),
        (Said(429, error(429, "monthly_quota_exceeded")), 300.0),
    ],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == f"Bearer {key}",
    is_idempotent=True,
)

"""Postmark as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema

from kumotwist.egress.esp.postmark import PostmarkOptions

SCHEMA = schema("postmark.hand.json", "schemas", "SendEmailBatchRequest")
GOOD = {"From": "a@src.test", "To": "b@dest.test", "TextBody": "x"}
BROKEN = (
    [{"From": "a@src.test", "To": "b@dest.test"}],
    [{**GOOD, "To": ["b@dest.test"]}],
    [{**GOOD, "Metadata": {"kumo_id": 7}}],
    [{**GOOD, "Attachments": [{"Name": "a.pdf", "Content": "eA=="}]}],
    [GOOD] * 501,
)


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    (one,) = value
    assert one["Metadata"] == {"kumo_id": spool_id}
    assert (one["From"], one["To"]) == ("Ann <ann@src.test>", "to@dest.test")


def taken(count):
    return Said(200, [{"ErrorCode": 0, "Message": "OK", "MessageID": "b7bc2f4a-e38e-4336-af7d-e6c392c2f817"}] * count)


def error(code, text="in words"):
    return [{"ErrorCode": code, "Message": text}]


CASE = ApiCase(
    name="postmark",
    options=lambda url, key: PostmarkOptions(base_url=url, server_token=key),
    path="/email/batch",
    accepted=taken(1),
    accepted_together=taken,
    remote_id="b7bc2f4a-e38e-4336-af7d-e6c392c2f817",
    permanent=[
        Said(200, error(300, "Invalid 'To' address")),
        Said(200, error(406, "You tried to send to a recipient that has been marked as inactive")),
        Said(422, error(402)[0]),
        Said(413),
    ],
    account=[Said(200, error(400)), Said(200, error(405)), Said(422, error(412)[0]), Said(401, error(10)[0])],
    transient=[Said(200, error(100))],
    throttled=[(Said(200, error(429)), 10.0)],
    check=check,
    shows=lambda seen, key: seen.header("x-postmark-server-token") == key,
)

"""SendGrid as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema

from kumotwist.egress.esp.sendgrid import SendGridOptions

SCHEMA = schema(
    "sendgrid_mail_v3.json", "components", "requestBodies", "PostMailSend", "content", "application/json", "schema"
)


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert [one["custom_args"]["kumo_id"] for one in value["personalizations"]] == [spool_id]
    assert [one["to"][0]["email"] for one in value["personalizations"]] == ["to@dest.test"]
    assert value["from"] == {"email": "ann@src.test", "name": "Ann"}


CASE = ApiCase(
    name="sendgrid",
    options=lambda url, key: SendGridOptions(base_url=url, api_key=key),
    path="/v3/mail/send",
    accepted=Said(202, b"", {"X-Message-Id": "14c5d75ce93"}),
    remote_id="14c5d75ce93",
    permanent=[
        Said(400, {"errors": [{"message": "not a valid address", "field": "personalizations.0.to"}]}),
        Said(413, {"errors": [{"message": "Payload too large"}]}),
    ],
    account=[Said(400, {"errors": [{"message": "Maximum credits exceeded"}]})],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == f"Bearer {key}",
)

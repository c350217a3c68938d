"""SparkPost as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema

from kumotwist.egress.esp.sparkpost import SparkPostOptions

SCHEMA = schema("sparkpost_transmissions.hand.json", "schemas", "TransmissionRequest")


def error(code, message):
    return {"errors": [{"message": message, "code": code, "description": f"{message}, in more words"}]}


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value["metadata"]["kumo_id"] == spool_id
    assert value["recipients"] == [{"address": {"email": "to@dest.test"}}]
    assert value["content"]["email_rfc822"].startswith("From: Ann")
    assert value["options"]["perform_substitutions"] is False


CASE = ApiCase(
    name="sparkpost",
    options=lambda url, key: SparkPostOptions(base_url=url, api_key=key),
    path="/api/v1/transmissions",
    accepted=Said(200, {"results": {"id": "1122", "total_accepted_recipients": 1, "total_rejected_recipients": 0}}),
    remote_id="1122",
    permanent=[
        Said(422, error("1400", "required field is missing")),
        Said(400, error("1902", "Message generation rejected")),
        Said(200, {"results": {"id": "1122", "total_accepted_recipients": 0, "total_rejected_recipients": 1}}),
    ],
    account=[
        Said(400, error("7001", "Invalid domain")),
        Said(400, error("1100", "DKIM key missing")),
    ],
    throttled=[(Said(420, error("2101", "Exceed Sending Limit (hourly)")), 10.0)],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == key,
)

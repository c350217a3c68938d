"""Mailgun as the contract suite meets it."""

from base64 import b64encode
from email import message_from_bytes
from email.policy import HTTP

from support.apicases.case import ApiCase, Said, schema

from kumotwist.egress.esp.mailgun import MailgunOptions

SCHEMA = schema(
    "mailgun.messages.json",
    "components",
    "schemas",
    "POST-v3-domain_name-messages-mime-multipart-form-data-RequestBody",
)


def form(seen):
    """(name, file name, value) of each part."""
    head = f"Content-Type: {seen.header('content-type')}\r\n\r\n".encode()
    parts = message_from_bytes(head + seen.body, policy=HTTP).get_payload()
    return [(part.get_param("name", header="content-disposition"), part.get_filename(), _text(part)) for part in parts]


def _text(part):
    if part.get_content_type() == "message/rfc822":
        return part.get_payload(0).as_string()
    return part.get_payload(decode=True).decode()


def check(seen, spool_id):
    fields = form(seen)
    value = {name: text for name, _, text in fields if name != "to"}
    SCHEMA.validate({**value, "to": [text for name, _, text in fields if name == "to"]})
    assert ("v:kumo_id", None, spool_id) in fields
    assert [text for name, _, text in fields if name == "to"] == ["to@dest.test"]
    assert [file for name, file, _ in fields if name == "message"] == ["message.mime"]


def basic(key):
    return "Basic " + b64encode(f"api:{key}".encode()).decode()


CASE = ApiCase(
    name="mailgun",
    options=lambda url, key: MailgunOptions(base_url=url, api_key=key, domain="mg.src.test"),
    path="/v3/mg.src.test/messages.mime",
    accepted=Said(200, {"id": "<20230101.1@mg.src.test>", "message": "Queued. Thank you."}),
    remote_id="<20230101.1@mg.src.test>",
    permanent=[
        Said(400, {"message": "'to' parameter is not a valid address. please check documentation"}),
        Said(413, b"request body too large"),
    ],
    account=[
        Said(400, {"message": "Domain mg.src.test is not allowed to send: The domain is disabled"}),
        Said(404, {"message": "Domain not found: mg.src.test"}),
    ],
    throttled=[(Said(429, {"message": "recipient limit exceeded, try again after 42 seconds"}), 42.0)],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == basic(key),
)

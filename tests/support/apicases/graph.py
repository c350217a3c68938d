"""Microsoft Graph as the contract suite meets it. It takes MIME, so there is no schema: the MIME is read back."""

from base64 import b64decode
from email import message_from_bytes

from support.apicases.case import ApiCase, Said, token_for

from kumotwist.egress.esp.graph import GraphOptions


def error(code, message="in words"):
    return {"error": {"code": code, "message": message}}


def check(seen, spool_id):
    assert seen.header("content-type") == "text/plain"
    message = message_from_bytes(b64decode(seen.body, validate=True))
    assert message["to"] == "to@dest.test"
    assert message["subject"] == "hello"
    assert (message["bcc"], message["received"]) == (None, None)


CASE = ApiCase(
    name="graph",
    options=lambda url, key, authority: GraphOptions(
        base_url=url,
        mailbox="ann@src.test",
        tenant="directory",
        client_id="app",
        client_secret=key,
        login_url=authority,
    ),
    path="/v1.0/users/ann@src.test/sendMail",
    accepted=Said(202),
    remote_id="<1@src.test>",
    body=b"From: Ann <ann@src.test>\r\nTo: to@dest.test\r\nMessage-ID: <1@src.test>\r\nSubject: hello\r\n\r\nbody\r\n",
    permanent=[
        Said(400, error("ErrorInvalidRecipients")),
        Said(400, error("ErrorMimeContentInvalid")),
        Said(403, error("ErrorMessageSizeExceeded")),
        Said(413),
    ],
    account=[Said(403, error("ErrorSendAsDenied")), Said(404, error("ErrorInvalidUser"))],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == f"Bearer {token_for(key)}",
    has_tokens=True,
)

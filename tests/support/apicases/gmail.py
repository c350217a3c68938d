"""Gmail as the contract suite meets it. It takes MIME, so there is no schema: the MIME is read back."""

from email import message_from_bytes

from support.apicases.case import TOKEN_PATH, ApiCase, Said, token_for

from kumotwist.config.keysource import LiteralKey
from kumotwist.egress.esp.gmail import GmailOptions


def error(status, reason):
    return {"error": {"code": status, "message": "in words", "errors": [{"reason": reason, "domain": "global"}]}}


def check(seen, spool_id):
    assert seen.header("content-type") == "message/rfc822"
    assert seen.uri.endswith("?uploadType=media")
    message = message_from_bytes(seen.body)
    assert (message["to"], message["subject"], message["bcc"]) == ("to@dest.test", "hello", None)


CASE = ApiCase(
    name="gmail",
    options=lambda url, key, authority: GmailOptions(
        base_url=url,
        user="ann@src.test",
        client_id="app",
        client_secret=key,
        refresh_token=LiteralKey(b"1//refresh"),
        token_url=authority + TOKEN_PATH,
    ),
    path="/upload/gmail/v1/users/ann@src.test/messages/send",
    accepted=Said(200, {"id": "18c0ffee", "threadId": "18c0ffee", "labelIds": ["SENT"]}),
    remote_id="18c0ffee",
    permanent=[Said(400, error(400, "invalidArgument")), Said(413)],
    account=[
        Said(403, error(403, "dailyLimitExceeded")),
        Said(403, error(403, "insufficientPermissions")),
        Said(400, error(400, "failedPrecondition")),
    ],
    throttled=[
        (Said(403, error(403, "rateLimitExceeded")), 10.0),
        (Said(403, error(403, "userRateLimitExceeded")), 10.0),
    ],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == f"Bearer {token_for(key)}",
    has_tokens=True,
)

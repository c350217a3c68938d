"""FCM as the contract suite meets it: Google's own schema, and the assertion judged by another implementation."""

import json

import jwt as pyjwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.apicases.case import TOKEN_PATH, ApiCase, Said, as_json, token_for
from support.apicases.discovery import discovered

from kumotwist.egress.push.fcm import FcmOptions

SCHEMA = discovered("google_fcm.v1.discovery.json", "SendMessageRequest")
KEY = rsa.generate_private_key(65537, 2048)
DEVICE = "cXyz-1:APA91b_token"


def account(key_id):
    """A service account's file, with a key of that id."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "demo-1",
            "private_key_id": key_id,
            "private_key": KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            "client_email": "push@demo-1.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    )


def error(status, name, *details):
    """As Google puts it."""
    return Said(status, {"error": {"code": status, "message": "in words", "status": name, "details": list(details)}})


def fcm_error(code):
    return {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}


def violation(field, text):
    found = [{"field": field, "description": text}]
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": found}


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    message = value["message"]
    assert message["token"] == DEVICE
    assert message["notification"] == {"title": "hello", "body": "body"}


def shows(seen, key):
    """Whether the request has a token that was given for an assertion as RFC 7523 wants it, by that key."""
    assertion = (seen.header("authorization") or "").removeprefix(f"Bearer {token_for('')}")
    claims = pyjwt.decode(assertion, KEY.public_key(), ["RS256"], {"verify_aud": False})
    assert claims["iss"] == "push@demo-1.iam.gserviceaccount.com"
    assert claims["scope"] == "https://www.googleapis.com/auth/firebase.messaging"
    assert claims["aud"].endswith(TOKEN_PATH)
    assert claims["exp"] - claims["iat"] == 3600
    return pyjwt.get_unverified_header(assertion)["kid"] == json.loads(key)["private_key_id"]


CASE = ApiCase(
    name="fcm",
    secret=account("old"),
    rotated=account("new"),
    options=lambda url, key, authority: FcmOptions(base_url=url, service_account=key, token_url=authority + TOKEN_PATH),
    path="/v1/projects/demo-1/messages:send",
    accepted=Said(200, {"name": "projects/demo-1/messages/0:1500415314455276%31bd1c9631bd1c96"}),
    remote_id="projects/demo-1/messages/0:1500415314455276%31bd1c9631bd1c96",
    permanent=[
        error(404, "NOT_FOUND", fcm_error("UNREGISTERED")),
        error(403, "PERMISSION_DENIED", fcm_error("SENDER_ID_MISMATCH")),
        error(400, "INVALID_ARGUMENT", violation("message.android.ttl", "Illegal format for duration")),
    ],
    account=[
        error(401, "UNAUTHENTICATED", fcm_error("THIRD_PARTY_AUTH_ERROR")),
        error(403, "PERMISSION_DENIED"),
        error(404, "NOT_FOUND"),
    ],
    transient=[
        error(503, "UNAVAILABLE", fcm_error("UNAVAILABLE")),
        error(500, "INTERNAL", fcm_error("INTERNAL")),
    ],
    throttled=[(error(429, "RESOURCE_EXHAUSTED", fcm_error("QUOTA_EXCEEDED")), 60.0)],
    check=check,
    shows=shows,
    recipients=(f'"{DEVICE}"@phones.test',),
    has_tokens=True,
)

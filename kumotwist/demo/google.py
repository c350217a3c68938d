"""What Google answers to a sender of notifications: access tokens, and FCM's HTTP v1 API.

Pure, as `providers`, but for the key file that it can make. Signatures of service accounts are not checked: any of
them gets an access token.

Public: `find`, `GONE`, `service_account`.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kumotwist.demo.providers import Answered, Asked, Provider, bearer, json_object

_FCM: Final = re.compile(r"/v1/projects/([^/]+)/messages:send\Z")
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
#: A device token that ends so belongs to an application that was removed.
GONE: Final = "-gone"


def find(path: str) -> tuple[Provider, str] | None:
    """The service at `path`, and the project in it."""
    if path == "/token":
        return TOKENS, ""
    match = _FCM.match(path)
    return (FCM, match[1]) if match else None


def service_account(directory: Path, token_url: str) -> Path:
    """A file as Google gives it to who may send for a project, with a key made now."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {
        "type": "service_account",
        "project_id": "shop",
        "private_key_id": uuid.uuid4().hex,
        "private_key": pem,
        "client_email": "push@shop.iam.gserviceaccount.com",
        "token_uri": token_url,
    }
    path = directory / "service-account.json"
    path.write_text(json.dumps(account), encoding="utf-8")
    return path


def _assertion(asked: Asked) -> str | None:
    """The signed claim that is exchanged for an access token (RFC 7523 s2.1); three parts, as every JWT."""
    form = parse_qs(asked.body.decode("latin-1"))
    grant, claim = form.get("grant_type", [""])[0], form.get("assertion", [""])[0]
    return claim if grant == _GRANT and claim.count(".") == 2 else None


def _token(asked: Asked) -> Answered:  # noqa: ARG001
    return Answered(200, {"access_token": "ya29.stand-in", "expires_in": 3599, "token_type": "Bearer"})


def _fcm_error(
    status: int, name: str, message: str, code: str = "", headers: Mapping[str, str] | None = None
) -> Answered:
    error: dict[str, object] = {"code": status, "message": message, "status": name}
    if code:
        error["details"] = [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}]
    return Answered(status, {"error": error}, headers or {})


def _fcm(asked: Asked) -> Answered:
    body = json_object(asked)
    message = body.get("message") if body is not None else None
    token = message.get("token") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(token, str) or not token:
        return _fcm_error(400, "INVALID_ARGUMENT", "Recipient of the message is not set.", "INVALID_ARGUMENT")
    if not (isinstance(message.get("notification"), dict) or isinstance(message.get("data"), dict)):
        return _fcm_error(400, "INVALID_ARGUMENT", "The message is empty.", "INVALID_ARGUMENT")
    if token.endswith(GONE):
        return _fcm_error(404, "NOT_FOUND", "Requested entity was not found.", "UNREGISTERED")
    return Answered(200, {"name": f"projects/{asked.domain}/messages/0:{uuid.uuid4().int >> 68}"}, {}, 1)


TOKENS: Final = Provider(
    "google", _assertion, Answered(400, {"error": "invalid_grant", "error_description": "Invalid JWT."}), _token, {}
)
FCM: Final = Provider(
    "fcm",
    bearer,
    _fcm_error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    _fcm,
    {
        400: _fcm_error(
            503, "UNAVAILABLE", "The service is currently unavailable.", "UNAVAILABLE", {"Retry-After": "1"}
        ),
        429: _fcm_error(
            429, "RESOURCE_EXHAUSTED", "Quota exceeded for the device.", "QUOTA_EXCEEDED", {"Retry-After": "1"}
        ),
        500: _fcm_error(500, "INTERNAL", "Internal error encountered.", "INTERNAL"),
        503: _fcm_error(
            503, "UNAVAILABLE", "The service is currently unavailable.", "UNAVAILABLE", {"Retry-After": "1"}
        ),
    },
)

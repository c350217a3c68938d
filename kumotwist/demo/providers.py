"""What SendGrid, Mailgun and SparkPost answer, as far as a sender of single messages can tell.

Pure: headers and body in, status and body out. Shapes and texts follow the
vendors' published API descriptions; the requests themselves are checked
against those descriptions by the tests that record them.

Public: `Asked`, `Answered`, `Provider`, `find`, `failure`, `bearer`, `json_object`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from email import message_from_bytes
from email.message import Message
from typing import Any, Final

from attrs import frozen

_ADDRESS: Final = re.compile(r"[^@\s<>,]+@[^@\s<>,]+")
_MAILGUN: Final = re.compile(r"/v3/([^/]+)/messages\.mime\Z")


@frozen
class Asked:
    """A request; header names in lower case. `domain` is what stands in the path: Mailgun's domain, FCM's project."""

    headers: Mapping[str, str]
    body: bytes
    domain: str = ""


@frozen
class Answered:
    """The answer: a status, a body (None: empty) and further headers."""

    status: int
    body: object = None
    headers: Mapping[str, str] = {}
    #: Recipients taken.
    accepted: int = 0


@frozen
class Provider:
    """One vendor: the credential in a request, the answer without one, and the answer to a good request."""

    name: str
    credential: Callable[[Asked], str | None]
    unauthorized: Answered
    answer: Callable[[Asked], Answered]
    #: What the vendor says when it fails, by status.
    failures: Mapping[int, Answered]


def find(path: str) -> tuple[Provider, str] | None:
    """The provider that serves `path`, and the domain in it."""
    if path == "/v3/mail/send":
        return SENDGRID, ""
    if path == "/api/v1/transmissions":
        return SPARKPOST, ""
    match = _MAILGUN.match(path)
    return (MAILGUN, match[1]) if match else None


def failure(provider: Provider, status: int) -> Answered:
    """What the provider says when it fails with `status`."""
    known = provider.failures.get(status)
    return known if known is not None else Answered(status, {"message": f"stand-in failure {status}"})


def form_parts(asked: Asked) -> list[tuple[str, str | None, bytes]]:
    """Name, file name and content of each part of a multipart/form-data body; none when it is not one."""
    kind = asked.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        return []
    form = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + asked.body)
    parts: Any = form.get_payload()
    if not isinstance(parts, list):
        return []
    return [(_param(part, "name"), part.get_filename(), part.get_payload(decode=True) or b"") for part in parts]


def _param(part: Message, name: str) -> str:
    value = part.get_param(name, "", "content-disposition")
    return value if isinstance(value, str) else ""


def bearer(asked: Asked) -> str | None:
    """The credential of `Authorization: Bearer`."""
    scheme, _, key = asked.headers.get("authorization", "").partition(" ")
    return key if scheme == "Bearer" and key else None


def _plain(asked: Asked) -> str | None:
    key = asked.headers.get("authorization", "")
    return key if key and " " not in key else None


def _basic(asked: Asked) -> str | None:
    scheme, _, credential = asked.headers.get("authorization", "").partition(" ")
    try:
        user, _, key = base64.b64decode(credential, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return key if scheme == "Basic" and user == "api" and key else None


def json_object(asked: Asked) -> dict[str, Any] | None:
    """The body, when it is a JSON object."""
    try:
        body = json.loads(asked.body)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


# -- SendGrid -------------------------------------------------------------------------------------


def _sendgrid_error(status: int, message: str, field: str | None = None) -> Answered:
    return Answered(status, {"errors": [{"message": message, "field": field, "help": None}]})


def _sendgrid(asked: Asked) -> Answered:
    if not asked.headers.get("content-type", "").startswith("application/json"):
        return _sendgrid_error(415, "Content-Type should be application/json.")
    body = json_object(asked)
    if body is None:
        return _sendgrid_error(400, "Bad Request")
    people = _dicts(body.get("personalizations"))
    to = [one.get("email") for person in people for one in _dicts(person.get("to"))]
    if not to:
        return _sendgrid_error(400, "The personalizations field is required.", "personalizations")
    sender = body.get("from")
    if not isinstance(sender, dict) or not _is_address(sender.get("email")):
        return _sendgrid_error(400, "The from object must be provided for every email send.", "from.email")
    if not all(_is_address(one) for one in to):
        return _sendgrid_error(400, "Does not contain a valid address.", "personalizations.0.to.0.email")
    if not body.get("subject") and not all(person.get("subject") for person in people):
        return _sendgrid_error(400, "The subject is required.", "subject")
    if not body.get("template_id") and not all(one.get("value") for one in _dicts(body.get("content")) or [{}]):
        return _sendgrid_error(
            400, "Unless a valid template_id is provided, the content parameter is required.", "content"
        )
    return Answered(202, None, {"X-Message-Id": uuid.uuid4().hex[:22]}, len(to))


# -- Mailgun --------------------------------------------------------------------------------------


def _mailgun(asked: Asked) -> Answered:
    parts = form_parts(asked)
    to = [one for name, _, value in parts if name == "to" for one in value.decode(errors="replace").split(",")]
    files = [value for name, file_name, value in parts if name == "message" and file_name]
    if not to:
        return Answered(400, {"message": "to parameter is missing"})
    if not all(_ADDRESS.search(one) for one in to):
        return Answered(400, {"message": "to parameter is not a valid address. please check documentation."})
    if not files:
        return Answered(400, {"message": "message parameter is missing"})
    given = message_from_bytes(files[0]).get("Message-ID")
    named = given.strip() if given else f"<{uuid.uuid4().hex}@{asked.domain}>"
    return Answered(200, {"id": named, "message": "Queued. Thank you."}, {}, len(to))


# -- SparkPost ------------------------------------------------------------------------------------


def _sparkpost_error(status: int, message: str, code: str, description: str) -> Answered:
    return Answered(status, {"errors": [{"message": message, "code": code, "description": description}]})


def _sparkpost(asked: Asked) -> Answered:
    body = json_object(asked)
    if body is None:
        return _sparkpost_error(400, "invalid data format/type", "1300", "Problems parsing request as JSON")
    people = _dicts(body.get("recipients"))
    addresses = [one.get("address") for one in people]
    emails = [one.get("email") if isinstance(one, dict) else one for one in addresses]
    if not emails:
        return _sparkpost_error(400, "required field is missing", "1400", "recipients or list_id required")
    content = body.get("content")
    if not isinstance(content, dict) or not (content.get("email_rfc822") or content.get("from")):
        return _sparkpost_error(400, "required field is missing", "1400", "content object or template_id required")
    good = [one for one in emails if _is_address(one)]
    if not good:
        return _sparkpost_error(400, "invalid data format/type", "1300", "no valid recipients")
    results = {
        "total_rejected_recipients": len(emails) - len(good),
        "total_accepted_recipients": len(good),
        "id": str(uuid.uuid4().int >> 68),
    }
    return Answered(200, {"results": results}, {}, len(good))


def _dicts(value: object) -> Sequence[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _is_address(value: object) -> bool:
    return isinstance(value, str) and _ADDRESS.fullmatch(value) is not None


SENDGRID: Final = Provider(
    "sendgrid",
    bearer,
    _sendgrid_error(401, "authorization required"),
    _sendgrid,
    {
        400: _sendgrid_error(400, "Does not contain a valid address.", "personalizations.0.to.0.email"),
        429: Answered(
            429, {"errors": [{"field": None, "message": "too many requests"}]}, {"X-RateLimit-Remaining": "0"}
        ),
        500: _sendgrid_error(500, "internal server error"),
        503: _sendgrid_error(503, "service unavailable"),
    },
)
MAILGUN: Final = Provider(
    "mailgun",
    _basic,
    Answered(401, "Forbidden"),
    _mailgun,
    {
        400: Answered(400, {"message": "to parameter is not a valid address. please check documentation."}),
        429: Answered(429, {"message": "request limit exceeded, try again after 1 seconds"}),
        500: Answered(500, {"message": "Internal Server Error"}),
        503: Answered(503, {"message": "Service Unavailable"}),
    },
)
SPARKPOST: Final = Provider(
    "sparkpost",
    _plain,
    Answered(401, {"errors": [{"message": "Unauthorized."}]}),
    _sparkpost,
    {
        400: _sparkpost_error(400, "Message generation rejected", "1902", "recipient address suppressed"),
        420: _sparkpost_error(420, "Exceed Sending Limit (hourly)", "2101", "sending limit exceeded"),
        429: Answered(429, {"errors": [{"message": "Too many requests"}]}),
        500: Answered(500, {"errors": [{"message": "Internal Server Error"}]}),
        503: Answered(503, {"errors": [{"message": "Service Unavailable"}]}),
    },
)

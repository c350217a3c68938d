"""The body of `POST /api/send/v1`: one neutral message, read strictly.

Unknown and mistyped fields are refused with their path. No text that reaches a
header or the envelope may hold a line break or NUL. What is wrong with one
address is not judged here: it fails that recipient alone (`send_address`).

Public: `SendRequest` and its parts, `SendBody`, `decode`, `schedule_of`. What can go wrong:
`RequestProblem` with the status to answer: 400 for text that is not JSON, 422
for JSON that is not a request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from kumotwist.core.schedule import Schedule
from kumotwist.intake.inject.request import (
    Attachment,
    Mailbox,
    as_variables,
    field_problem,
    read,
    refuse_breaks,
    refuse_nul,
)
from kumotwist.intake.send.headernames import check_header_names
from kumotwist.proto.translate import hypertext
from kumotwist.proto.translate.blank import is_blank

#: Recipients of one request. Ours: all of them go to the disk in one commit, as with `inject.MAX_BATCH`.
MAX_RECIPIENTS: Final = 1000
#: RFC 5321 s4.5.3.1: 64 octets, the @ and 255 octets.
MAX_EMAIL: Final = 320
#: Characters of a number as written, as in `proto.phone`.
MAX_PHONE: Final = 64
#: Characters of a device token, a push endpoint or a chat address. Ours: FCM promises no length and says some hundred
#: are common; push services send endpoints of up to some thousand.
MAX_ADDRESS: Final = 4096
#: Characters of a key of a push subscription: 65 octets in base64url are 87 (RFC 8291 s3.1), padding makes it 88.
MAX_KEY: Final = 88
#: Characters of a name and of a subject. Ours: RFC 5322 s2.1.1 permits 998 in a line.
MAX_NAME: Final = 256
MAX_SUBJECT: Final = 998
#: Characters of an SMS sender. Ours: TS 23.040 s9.1.2.5 permits 11 letters or 20 digits; Twilio's service ids have 34.
MAX_SMS_SENDER: Final = 64
#: Characters of tenant and campaign, which are part of queue names, labels and logs. Ours.
MAX_LABEL: Final = 128
#: Header fields of the caller's, and characters of one. Ours: more than any sender of mail needs.
MAX_HEADERS: Final = 64
MAX_HEADER: Final = 4096
#: Attachments. Ours: each is a part to look through for whoever handles the message later.
MAX_ATTACHMENTS: Final = 64
#: Characters of a time or a list of days. Ours: RFC 3339 with nanoseconds has 35, seven long names of days 62.
MAX_TIME: Final = 64
#: How far ahead a first attempt may be, in seconds. Ours: a leap year; providers take hours to weeks.
MAX_AHEAD: Final = 366 * 86400.0

#: Characters of HTML that are searched for words at once; longer pages are believed to have some. Ours: a
#: few hundredths of a second.
MAX_READ: Final = 20_000

_KINDS: Final = ("email", "phone", "device_token", "web_push", "chat")

_Opaque = Annotated[str, Meta(max_length=MAX_ADDRESS)]
_Key = Annotated[str, Meta(max_length=MAX_KEY)]
#: Without what separates the parts of a queue name (`core.queuename`), white space and controls.
_Label = Annotated[str, Meta(max_length=MAX_LABEL, pattern=r"^[^:@!\s\x00-\x1f\x7f]+$")]
_Name = Annotated[str, Meta(max_length=MAX_NAME)]
_Email = Annotated[str, Meta(max_length=MAX_EMAIL)]
_Time = Annotated[str, Meta(max_length=MAX_TIME)]


class PushKeys(Struct, forbid_unknown_fields=True):
    """The keys of a push subscription (RFC 8291 s3.1), in base64url."""

    p256dh: _Key
    auth: _Key


class WebPush(Struct, forbid_unknown_fields=True):
    """A push subscription as browsers give it; `expirationTime` is taken and not used."""

    endpoint: _Opaque
    keys: PushKeys
    expiration_time: float | None = msgspec.field(name="expirationTime", default=None)


class Address(Struct, forbid_unknown_fields=True):
    """One recipient: exactly one of `email`, `phone`, `device_token`, `web_push`, `chat`.

    `name` goes with `email`, `platform` with `device_token` and `chat`.
    """

    email: _Email | None = None
    name: _Name | None = None
    phone: Annotated[str, Meta(max_length=MAX_PHONE)] | None = None
    device_token: _Opaque | None = None
    web_push: WebPush | None = None
    chat: _Opaque | None = None
    platform: Literal["fcm", "apns", "slack", "teams", "discord", "telegram"] | None = None


#: What JSON schema says of `Address`: exactly one of its kinds.
_ONE_KIND: Final = [
    {"required": [name], "properties": {name: {"type": "object" if name == "web_push" else "string"}}}
    for name in _KINDS
]
_Recipient = Annotated[Address, Meta(extra_json_schema={"oneOf": _ONE_KIND})]


class Sender(Struct, forbid_unknown_fields=True):
    """Who it is from: `email` and `name` for mail, `sms` for text messages (number, short code or name)."""

    email: _Email | None = None
    name: _Name | None = None
    sms: Annotated[str, Meta(max_length=MAX_SMS_SENDER)] | None = None


class Times(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """When it may be attempted, as `msg:set_scheduling` takes it: times in RFC 3339, a daily window in `tz`."""

    first_attempt: _Time | None = None
    expires: _Time | None = None
    dow: _Time | None = None
    tz: _Time | None = None
    start: _Time | None = None
    end: _Time | None = None


class SendRequest(Struct, forbid_unknown_fields=True):
    """One message for one or many recipients.

    `text` and `html` are what it says, `data` is for the application that gets
    a push, `metadata` for the policy. `schedule` is a time in RFC 3339 before
    which nothing is tried, or more (Times). At least one of `subject`, `text`,
    `html` and `data` must be there, and when a recipient has no `email`, `data`
    or something to read; mail needs `from.email`, and `text` or `html`. `headers` are
    further header fields of mail: none that another field says, that servers
    write on the way (Received, Return-Path), nor a signature.
    """

    to: _Recipient | Annotated[list[_Recipient], Meta(min_length=1, max_length=MAX_RECIPIENTS)]
    from_: Sender = msgspec.field(name="from", default_factory=Sender)
    reply_to: Mailbox | None = None
    subject: Annotated[str, Meta(max_length=MAX_SUBJECT)] | None = None
    text: str | None = None
    html: str | None = None
    data: dict[str, object] | None = None
    headers: Annotated[dict[str, Annotated[str, Meta(max_length=MAX_HEADER)]], Meta(max_length=MAX_HEADERS)] = {}
    attachments: Annotated[list[Attachment], Meta(max_length=MAX_ATTACHMENTS)] = []
    tenant: _Label | None = None
    campaign: _Label | None = None
    schedule: _Time | Times | None = None
    metadata: dict[str, object] = {}

    @property
    def addresses(self) -> list[Address]:
        """The recipients, in order."""
        return self.to if isinstance(self.to, list) else [self.to]

    def path_of(self, index: int) -> str:
        """How the client wrote the recipient at `index`."""
        return f"to[{index}]" if isinstance(self.to, list) else "to"


#: `SendRequest` with what JSON schema can say beyond its types.
SendBody = Annotated[
    SendRequest,
    Meta(
        extra_json_schema={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "object" if name == "data" else "string"}}}
                for name in ("subject", "text", "html", "data")
            ]
        }
    ),
]
_DECODER: Final = msgspec.json.Decoder(SendRequest)


def decode(body: bytes) -> SendRequest:
    """The request in `body`. Raises RequestProblem."""
    request = read(_DECODER, body, "data or metadata")
    for path, text in _header_texts(request):
        refuse_breaks(path, text)
    for index, address in enumerate(request.addresses):
        _check_kind(request.path_of(index), address)
    _check_content(request)
    return request


def schedule_of(request: SendRequest, now: float) -> Schedule | None:
    """The constraints that the request sets; `now` in Unix seconds. Raises RequestProblem."""
    given = request.schedule
    if given is None:
        return None
    times = Times(first_attempt=given) if isinstance(given, str) else given
    path = "schedule" if isinstance(given, str) else "schedule.first_attempt"
    try:
        schedule = Schedule.parse(as_variables(msgspec.to_builtins(times)))
    except (ValueError, OverflowError) as error:
        raise field_problem("schedule", str(error)) from None
    if schedule.first_attempt is not None and schedule.first_attempt > now + MAX_AHEAD:
        raise field_problem(path, f"is more than {MAX_AHEAD / 86400:.0f} days ahead")
    if schedule.expires is not None and schedule.expires <= schedule.next_allowed(now):
        raise field_problem("schedule.expires", "is before the first attempt is allowed")
    return schedule


def _check_kind(path: str, address: Address) -> None:
    given = [name for name in _KINDS if getattr(address, name) is not None]
    if len(given) != 1:
        found = f"; found {' and '.join(given)}" if given else ""
        raise field_problem(path, f"must have exactly one of {', '.join(_KINDS)}{found}")
    if address.name is not None and address.email is None:
        raise field_problem(f"{path}.name", "goes with email only")
    if address.platform is not None:
        expected = {"device_token": ("fcm", "apns"), "chat": ("slack", "teams", "discord", "telegram")}.get(
            given[0], ()
        )
        if address.platform not in expected:
            raise field_problem(f"{path}.platform", f"{address.platform} does not go with {given[0]}")


def _check_content(request: SendRequest) -> None:
    if request.subject is None and request.text is None and request.html is None and request.data is None:
        raise field_problem("text", "at least one of subject, text, html and data must be given")
    for path in ("text", "html"):
        refuse_nul(path, getattr(request, path))
    check_header_names(request.headers)
    _check_words(request)
    if not any(address.email is not None for address in request.addresses):
        return
    if not request.from_.email:
        raise field_problem("from.email", "must be given, since a recipient has an email address")
    if request.text is None and request.html is None:
        raise field_problem("text", "text or html must be given, since a recipient has an email address")


def _check_words(request: SendRequest) -> None:
    """Mail may be empty; of anything else somebody has to see something, or an application to have its data."""
    if request.data or all(address.email is not None for address in request.addresses):
        return
    if not (is_blank(request.subject or "") and is_blank(request.text or "")) or _shows_words(request.html or ""):
        return
    for index, address in enumerate(request.addresses):
        if address.email is None:
            path = request.path_of(index)
            raise field_problem("text", f"there is nothing to read for '{path}' in subject, text and html, and no data")


def _shows_words(html: str) -> bool:
    return len(html) > MAX_READ or bool(hypertext.read(html).lines)


def _header_texts(request: SendRequest) -> Iterator[tuple[str, str | None]]:
    """Every text that reaches a header or the envelope as it stands, with its path."""
    for index, address in enumerate(request.addresses):
        path = request.path_of(index)
        for name in ("email", "name", "phone", "device_token", "chat"):
            yield f"{path}.{name}", getattr(address, name)
        if address.web_push is not None:
            yield f"{path}.web_push.endpoint", address.web_push.endpoint
            yield f"{path}.web_push.keys.p256dh", address.web_push.keys.p256dh
            yield f"{path}.web_push.keys.auth", address.web_push.keys.auth
    for name in ("email", "name", "sms"):
        yield f"from.{name}", getattr(request.from_, name)
    if request.reply_to is not None:
        yield "reply_to.email", request.reply_to.email
        yield "reply_to.name", request.reply_to.name
    for name in ("subject", "tenant", "campaign"):
        yield name, getattr(request, name)
    for key, value in request.headers.items():
        yield f"headers[{key!r}]", value
    for index, attachment in enumerate(request.attachments):
        for name in ("content_type", "content_id", "file_name"):
            yield f"attachments[{index}].{name}", getattr(attachment, name)

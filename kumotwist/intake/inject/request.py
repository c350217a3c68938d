"""The body of `POST /api/inject/v1`: its fields, read strictly.

Unknown and mistyped fields are refused with their path. What reaches a header
or a command may hold no line break and no NUL; that is checked here, before
anything is made of it, so the error names the field as the client wrote it.

Public: `InjectRequest` and its parts, `decode`, `encode`. What can go wrong:
`RequestProblem` with the status to answer: 400 for text that is not JSON, 422
for JSON that is not a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from kumotwist.core.json import JsonObject
from kumotwist.intake.http.refusals import RequestProblem
from kumotwist.proto.mime.encode import check_header_name

T = TypeVar("T")

#: What would end a header field or a command.
BREAKS: Final = re.compile(r"[\r\n\0]")
#: A text without such a run has no number beyond 64 bits.
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")
#: Header fields that follow from the content; giving them too would say things twice.
_BUILT: Final = frozenset(("content-type", "content-transfer-encoding", "mime-version"))


class Mailbox(Struct, forbid_unknown_fields=True):
    """An address with the name to show."""

    email: str
    name: str | None = None


class Recipient(Struct, forbid_unknown_fields=True):
    """One recipient; `metadata` goes into meta `extra`."""

    email: str
    name: str | None = None
    substitutions: dict[str, object] = {}
    metadata: dict[str, object] = {}


class Attachment(Struct, forbid_unknown_fields=True):
    """A file; with `content_id` it is shown inline. `data` is text unless `base64`."""

    data: str
    content_type: str
    content_id: str | None = None
    file_name: str | None = None
    base64: bool = False


class Content(Struct, forbid_unknown_fields=True):
    """The message to build."""

    text_body: str | None = None
    html_body: str | None = None
    amp_html_body: str | None = None
    attachments: list[Attachment] = []
    headers: dict[str, str] = {}
    from_: Mailbox | None = msgspec.field(name="from", default=None)
    subject: str | None = None
    reply_to: Mailbox | None = None


class RequestTraceHeaders(Struct, forbid_unknown_fields=True):
    """Which headers to add; unlike with SMTP no Received header unless asked for."""

    received_header: bool = False
    supplemental_header: bool = True
    header_name: str = "X-KumoRef"
    include_meta_names: list[str] = []


class InjectRequest(Struct, forbid_unknown_fields=True):
    """One request for one or many messages."""

    envelope_sender: str
    recipients: list[Recipient]
    content: str | Content
    substitutions: dict[str, object] = {}
    deferred_spool: bool = False
    deferred_generation: bool = False
    trace_headers: RequestTraceHeaders = msgspec.field(default_factory=RequestTraceHeaders)
    template_dialect: Literal["Jinja", "Static", "Handlebars"] = "Jinja"


_DECODER: Final = msgspec.json.Decoder(InjectRequest)


def decode(body: bytes) -> InjectRequest:
    """The request in `body`. Raises RequestProblem."""
    request = read(_DECODER, body, "substitutions or metadata")
    check(request)
    return request


def read(decoder: msgspec.json.Decoder[T], body: bytes, numbers: str) -> T:
    """`body` as the decoder's type; `numbers` names the fields with free JSON in them. Raises RequestProblem."""
    try:
        request = decoder.decode(body)
    except msgspec.ValidationError as error:
        text = f"Failed to deserialize the JSON body into the target type: {error}"
        raise RequestProblem(422, text) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RequestProblem(400, f"Failed to parse the request body as JSON: {error}") from None
    if _LONG_NUMBER.search(body):
        # The reader takes integers of any length, the spool and Lua do not.
        try:
            msgspec.msgpack.encode(request)
        except OverflowError:
            raise RequestProblem(422, f"Error: an integer in {numbers} is beyond 64 bits") from None
    return request


def encode(request: InjectRequest) -> bytes:
    """The JSON that `decode` reads back."""
    return msgspec.json.encode(request)


def check(request: InjectRequest) -> None:
    """Judge what the types do not say. Raises RequestProblem naming the field."""
    for path, text in _header_texts(request):
        refuse_breaks(path, text)
    refuse_header_names((("trace_headers.header_name", request.trace_headers.header_name),))
    content = request.content
    if isinstance(content, str):
        refuse_nul("content", content)
        return
    if content.text_body is None and content.html_body is None:
        raise field_problem("content", "at least one of text_body and/or html_body must be given")
    for name in ("text_body", "html_body", "amp_html_body"):
        refuse_nul(f"content.{name}", getattr(content, name))
    refuse_header_names([(f"content.headers[{name!r}]", name) for name in content.headers])


def as_variables(value: dict[str, object]) -> JsonObject:
    """Decoded JSON as what it is to the type checker."""
    return value  # type: ignore[return-value]  # msgspec made it from JSON; it cannot check a recursive type


def _header_texts(request: InjectRequest) -> Iterator[tuple[str, str | None]]:
    """Every text that reaches a header or the envelope as it stands, with its path."""
    yield "envelope_sender", request.envelope_sender
    for index, recipient in enumerate(request.recipients):
        yield f"recipients[{index}].email", recipient.email
        yield f"recipients[{index}].name", recipient.name
    content = request.content
    if isinstance(content, str):
        return
    yield "content.subject", content.subject
    for name, mailbox in (("from", content.from_), ("reply_to", content.reply_to)):
        if mailbox is not None:
            yield f"content.{name}.email", mailbox.email
            yield f"content.{name}.name", mailbox.name
    for key, value in content.headers.items():
        yield f"content.headers[{key!r}]", value
    for index, attachment in enumerate(content.attachments):
        for name in ("content_type", "content_id", "file_name"):
            yield f"content.attachments[{index}].{name}", getattr(attachment, name)


def refuse_breaks(path: str, text: str | None) -> None:
    """Refuse what would end a header field or a command. Raises RequestProblem."""
    if text is not None and BREAKS.search(text):
        raise field_problem(path, "must not contain CR, LF or NUL")


def refuse_header_names(names: Iterable[tuple[str, str]]) -> None:
    """Refuse a name (path, name) that cannot be given. Raises RequestProblem."""
    for path, name in names:
        try:
            check_header_name(name)
        except ValueError as error:
            raise field_problem(path, str(error)) from None
        if name.lower() in _BUILT:
            raise field_problem(path, "follows from the content and cannot be given")


def refuse_nul(path: str, text: str | None) -> None:
    """Refuse what no message may hold. Raises RequestProblem."""
    if text is not None and "\0" in text:
        raise field_problem(path, "must not contain NUL")


def field_problem(path: str, text: str) -> RequestProblem:
    """The problem with one field."""
    return RequestProblem(422, f"Error: field '{path}': {text}")

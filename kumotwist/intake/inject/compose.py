"""From an injection request to the octets of one recipient's message.

What is the same for all recipients (compiled templates, encoded attachments,
headers without variables) is made once per request; `compose` does the rest.

Public: `Composer`, `attached`. What can go wrong: `RequestProblem` 422 while it is made,
naming the field; `ValueError` and `TemplateProblem` for one recipient.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Final, TypeAlias

from attrs import frozen

from kumotwist.core.json import Json, JsonObject
from kumotwist.intake.http.refusals import RequestProblem
from kumotwist.intake.inject.request import (
    Attachment,
    Content,
    InjectRequest,
    Mailbox,
    Recipient,
    as_variables,
)
from kumotwist.intake.inject.template import Template, TemplateProblem, Templates, variables_for
from kumotwist.proto.mime.builder import Part, assemble, attachment_part, message, text_part
from kumotwist.proto.mime.encode import address_header, date_time, mailbox, mailbox_list, unstructured
from kumotwist.proto.mime.rebuild import field_names, rebuild

_ADDRESSES: Final = frozenset(("from", "to", "cc", "bcc", "sender", "reply-to"))

#: Makes the octets of a header field from the recipient's variables.
_Field: TypeAlias = Callable[[JsonObject], bytes]


@frozen
class _Body:
    """A text of the message: its template and MIME subtype."""

    template: Template
    subtype: str


class Composer:
    """Makes the messages of one request."""

    def __init__(self, request: InjectRequest, templates: Templates, hostname: str) -> None:
        """Raises RequestProblem."""
        self._common = as_variables(request.substitutions)
        self._hostname = hostname
        self._templates = templates
        self._dialect = request.template_dialect
        try:
            self._has_breaks = _has_breaks(self._common, "substitutions")
            if isinstance(request.content, str):
                self._whole: Template | None = self._compile(request.content, "content")
                return
            self._whole = None
            self._prepare(request.content)
        except (ValueError, TemplateProblem) as problem:
            raise RequestProblem(422, f"Error: {problem}") from None

    def compose(self, recipient: Recipient, message_id: str, now: float) -> bytes:
        """The message for `recipient`; `message_id` and `now` (Unix seconds) fill in what is missing.

        Raises ValueError, TemplateProblem.
        """
        own = as_variables(recipient.substitutions)
        names: JsonObject = {"email": recipient.email, "to_header": mailbox(recipient.name, recipient.email)}
        if recipient.name is not None:
            names["name"] = recipient.name
        variables = variables_for(self._common, names, own)
        has_breaks = _has_breaks(own, "substitutions") or self._has_breaks
        if self._whole is not None:
            return self._rebuilt(self._whole, variables, has_breaks)
        headers = [field(variables) for field in self._fields]
        if not self._has_to:
            headers.append(b"To: %b\r\n" % _folded_to(recipient, names))
        headers.append(self._stamp(message_id, now))
        return message(headers, self._root or self._build(variables))

    # -- a message to build ---------------------------------------------------------------------

    def _prepare(self, content: Content) -> None:
        bodies = (
            ("text_body", content.text_body, "plain"),
            ("amp_html_body", content.amp_html_body, "x-amp-html"),
            ("html_body", content.html_body, "html"),
        )
        self._bodies = [
            _Body(self._compile(text, f"content.{name}", is_html=subtype != "plain"), subtype)
            for name, text, subtype in bodies
            if text is not None
        ]
        parts = [
            attached(f"content.attachments[{index}]", attachment)
            for index, attachment in enumerate(content.attachments)
        ]
        self._inline = [part for is_inline, part in parts if is_inline]
        self._attached = [part for is_inline, part in parts if not is_inline]
        self._prepare_headers(content)
        is_static = all(body.template.is_static for body in self._bodies)
        self._root = self._build({}) if is_static else None

    def _prepare_headers(self, content: Content) -> None:
        headers = {name: value for name, value in content.headers.items() if not _is_shadowed(name, content)}
        given = {name.lower() for name in headers}
        self._has_to, self._has_date = "to" in given, "date" in given
        self._has_message_id = "message-id" in given
        self._fields: list[_Field] = []
        if content.from_ is not None:
            self._fields.append(self._mailbox_field("From", content.from_, "content.from"))
        if content.reply_to is not None:
            self._fields.append(self._mailbox_field("Reply-To", content.reply_to, "content.reply_to"))
        if content.subject is not None:
            self._fields.append(self._text_field("Subject", content.subject, "content.subject"))
        for name, value in headers.items():
            self._fields.append(self._text_field(name, value, f"headers['{name}']"))

    def _text_field(self, name: str, value: str, path: str) -> _Field:
        template = self._compile(value, path)
        encode = address_header if name.lower() in _ADDRESSES else unstructured
        return _named(path, lambda variables: encode(name, template.render(variables)), template.is_static)

    def _mailbox_field(self, name: str, given: Mailbox, path: str) -> _Field:
        shown = self._compile(given.name or "", f"{path}.name")
        email = self._compile(given.email, f"{path}.email")

        def make(variables: JsonObject) -> bytes:
            return mailbox_list(name, [mailbox(shown.render(variables), email.render(variables))])

        return _named(path, make, shown.is_static and email.is_static)

    def _build(self, variables: JsonObject) -> Part:
        texts = [text_part(body.template.render(variables), body.subtype) for body in self._bodies]
        return assemble(texts, self._attached, self._inline)

    def _stamp(self, message_id: str, now: float) -> bytes:
        """Date and Message-ID, when the request has none (RFC 5322 s3.6)."""
        date = "" if self._has_date else f"Date: {date_time(int(now))}\r\n"
        own = "" if self._has_message_id else f"Message-ID: <{message_id}@{self._hostname}>\r\n"
        return (date + own).encode()

    # -- a message that came whole --------------------------------------------------------------

    def _rebuilt(self, template: Template, variables: JsonObject, has_breaks: bool) -> bytes:
        data = template.render(variables).encode()
        if has_breaks:
            # A line break in a variable may shape the body, but never the header: without it the fields are the same.
            tame = template.render({name: _without_breaks(value) for name, value in variables.items()})
            if field_names(data) != field_names(tame.encode()):
                raise ValueError("a line break in substitutions would add to the header")
        return rebuild(data)

    def _compile(self, source: str, path: str, *, is_html: bool = False) -> Template:
        return self._templates.compile(source, path, is_html=is_html, dialect=self._dialect)


def _named(path: str, make: _Field, is_static: bool) -> _Field:
    """`make` with errors that name the field; run once when it gives the same for all recipients."""

    def field(variables: JsonObject) -> bytes:
        try:
            return make(variables)
        except (ValueError, TemplateProblem) as error:
            raise ValueError(f"field '{path}': {error}") from None

    if not is_static:
        return field
    octets = field({})
    return lambda _: octets


def _is_shadowed(name: str, content: Content) -> bool:
    """Whether a field of its own says what the header `name` would say."""
    match name.lower():
        case "from":
            return content.from_ is not None
        case "reply-to":
            return content.reply_to is not None
        case "subject":
            return content.subject is not None
    return False


def _folded_to(recipient: Recipient, names: JsonObject) -> bytes:
    return mailbox_list("To", [str(names["to_header"])])[4:-2] if recipient.name else str(names["to_header"]).encode()


def attached(path: str, attachment: Attachment) -> tuple[bool, Part]:
    """Whether it is shown inline, and the part. Raises ValueError naming the field at `path`."""
    try:
        data = base64.b64decode(attachment.data, validate=True) if attachment.base64 else attachment.data.encode()
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"field '{path}.data': not Base64: {error}") from None
    try:
        part = attachment_part(
            data,
            attachment.content_type,
            file_name=attachment.file_name,
            content_id=attachment.content_id,
            is_text=not attachment.base64,
        )
    except ValueError as error:
        raise ValueError(f"field '{path}': {error}") from None
    return attachment.content_id is not None, part


def _has_breaks(value: object, path: str) -> bool:
    """Whether some text in `value` holds a line break. Raises ValueError for NUL: no message may hold that."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError(f"field '{path}': must not contain NUL")
        return "\r" in value or "\n" in value
    found = False
    if isinstance(value, dict):
        for name, one in value.items():
            found |= _has_breaks(one, f"{path}[{name!r}]")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            found |= _has_breaks(one, f"{path}[{index}]")
    return found


def _without_breaks(value: Json) -> Json:
    if isinstance(value, str):
        return value.replace("\r", " ").replace("\n", " ")
    if isinstance(value, dict):
        return {name: _without_breaks(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_breaks(one) for one in value]
    return value

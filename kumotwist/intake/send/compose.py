"""From a neutral message to the octets that are kept for each of its recipients.

What is the same for all (texts, attachments, most headers) is encoded once per
request. Channels that do not send mail take subject, texts and attachments out
of the same MIME message.

Public: `SendComposer`. What can go wrong: `RequestProblem` 422 while it is
made, naming the field.
"""

from __future__ import annotations

from kumotwist.core.address import EnvelopeAddress
from kumotwist.intake.http.refusals import RequestProblem
from kumotwist.intake.inject.compose import attached
from kumotwist.intake.inject.request import field_problem
from kumotwist.intake.send.request import SendRequest
from kumotwist.proto.mime.builder import Part, assemble, message, text_part
from kumotwist.proto.mime.encode import address_header, date_time, mailbox, mailbox_list, unstructured

_ADDRESSES = frozenset(("cc", "sender"))


class SendComposer:
    """Makes the messages of one request."""

    def __init__(self, request: SendRequest, hostname: str) -> None:
        """Raises RequestProblem."""
        self._hostname = hostname
        self._headers = _headers(request)
        self._root = _root(request)

    def compose(self, envelope: EnvelopeAddress, name: str | None, message_id: str, now: float) -> bytes:
        """The message for one recipient; `now` in Unix seconds. Raises ValueError for a name that fits no header."""
        own = f"Date: {date_time(int(now))}\r\nMessage-ID: <{message_id}@{self._hostname}>\r\n".encode()
        to = mailbox_list("To", [mailbox(name, envelope.email)])
        return message((*self._headers, to, own), self._root)


def _headers(request: SendRequest) -> list[bytes]:
    """The header fields that all recipients get."""
    fields: list[bytes] = []
    sender, reply_to = request.from_, request.reply_to
    if sender.email:
        fields.append(_mailbox("from", "From", sender.name, sender.email))
    if reply_to is not None:
        fields.append(_mailbox("reply_to", "Reply-To", reply_to.name, reply_to.email))
    if request.subject is not None:
        fields.append(_text("subject", "Subject", request.subject))
    fields += [_text(f"headers[{name!r}]", name, value) for name, value in request.headers.items()]
    return fields


def _mailbox(path: str, name: str, shown: str | None, email: str) -> bytes:
    try:
        return mailbox_list(name, [mailbox(shown, email)])
    except ValueError as error:
        raise field_problem(f"{path}.email", str(error)) from None


def _text(path: str, name: str, value: str) -> bytes:
    encode = address_header if name.lower() in _ADDRESSES else unstructured
    try:
        return encode(name, value)
    except ValueError as error:
        raise field_problem(path, str(error)) from None


def _root(request: SendRequest) -> Part:
    """Texts and attachments; an empty text when there is nothing to read."""
    texts = [
        text_part(text, subtype)
        for text, subtype in ((request.text, "plain"), (request.html, "html"))
        if text is not None
    ]
    try:
        parts = [attached(f"attachments[{index}]", one) for index, one in enumerate(request.attachments)]
    except ValueError as error:
        raise RequestProblem(422, f"Error: {error}") from None
    return assemble(
        texts or [text_part("", "plain")],
        [part for is_inline, part in parts if not is_inline],
        [part for is_inline, part in parts if is_inline],
    )

"""Resend: messages in parts, up to 100 e-mails a request.

A request of one e-mail carries an idempotency key made of our id and what is
sent, so that it may be sent again. A batch carries none: the next attempt is in
other company, and would be another request. Batches take no files
(https://resend.com/docs/api-reference/emails/send-batch-emails), so e-mails with
files go alone.

Public: `ResendKind`, `ResendOptions`, `Resend`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import msgspec
from attrs import evolve, frozen

from kumotwist.config.bounds import between
from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.json import Json, JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.core.receipt import METADATA_ID
from kumotwist.egress.api.batch import Email, emails_of, packed, refused_together, spelled, split
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.jsonapi import json_of, json_request, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.options import ApiOptions
from kumotwist.egress.api.parts import base64, named, sender_of, with_each_header_once
from kumotwist.net.http import HttpRequest, HttpResponse
from kumotwist.proto.mime.parts import Attachment, Decomposed

#: E-mails of one batch (Resend).
MAX_BATCH: Final = 100
#: Octets of one request (Resend: 40 MB an e-mail, files included).
MAX_OCTETS: Final = 40_000_000

RULES: Final = (
    Rule(Fault.TRANSIENT, (409,), "concurrent_idempotent_requests", meaning="the same request is under way"),
    Rule(Fault.ACCOUNT, (429,), "daily_quota_exceeded", meaning="the day's mail is used up"),
    Rule(Fault.ACCOUNT, (429,), "monthly_quota_exceeded", meaning="the month's mail is used up"),
    Rule(Fault.THROTTLED, (429,), "rate_limit_exceeded", meaning="too many requests a second"),
    Rule(Fault.PERMANENT, (400, 422), meaning="a field is missing or wrong"),
)


@options
class ResendOptions(ApiOptions):
    """Delivery by Resend."""

    channel: ClassVar[str] = "resend"

    api_key: KeySource = option("The key; sending access is enough.", secret=True)
    base_url: str = option("Where its API is.", default="https://api.resend.com")
    batch_size: int = option(
        "The most e-mails of one request. 1 makes all of them idempotent, at one request each.",
        default=MAX_BATCH,
        unit="messages",
        validator=between(1, MAX_BATCH),
    )


@frozen(eq=False)
class Resend:
    """Implements `egress.api.dialect.Dialect`."""

    options: ResendOptions
    judge: Judge

    @property
    def max_batch(self) -> int:
        """As many as the operator lets into one request."""
        return self.options.batch_size

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """As few requests as hold an e-mail for each recipient; signed and encrypted mail is refused."""
        steps, emails = split(emails_of(batch, self.judge, self._content, self._addressed, with_each_header_once))
        alone = [(one,) for one in emails if one.has_files]
        groups = packed([one for one in emails if not one.has_files], self.options.batch_size, MAX_OCTETS)
        steps += [self._single(batch, group[0]) for group in (*alone, *groups) if len(group) == 1]
        return [*steps, *[self._several(group) for group in groups if len(group) > 1]]

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """A bearer token."""
        return with_header(request, b"Authorization", f"Bearer {secrets['api_key']}")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """An id for each e-mail that was taken; a batch names those that were refused by their place in it."""
        said = json_of(reply)
        notes = call.note if isinstance(call.note, tuple) else ()
        if not 200 <= reply.code < 300:
            code, text = at(said, "name"), str(at(said, "message") or ("" if said else text_of(reply)))
            one = refused_together(self.judge, reply, len(call.targets), text, str(code) if code else None)
            return [one] * len(call.targets)
        if call.is_idempotent:
            if not at(said, "id"):
                raise Unreadable("its answer has no id")
            return [self.judge.delivered(reply, str(at(said, "id")), notes[0])]
        return self._each(reply, said, notes)

    def _each(self, reply: HttpResponse, said: object, notes: tuple[str, ...]) -> list[Outcome]:
        errors = at(said, "errors")
        refused = {at(one, "index"): str(at(one, "message") or "") for one in errors or ()}
        ids = [str(at(one, "id") or "") for one in at(said, "data") or ()]
        if len(ids) + len(refused) != len(notes) or not all(ids):
            raise Unreadable("its answer does not have an entry for each e-mail")
        remaining = iter(ids)
        return [
            self.judge.refused(reply, refused[place], otherwise=Fault.PERMANENT)
            if place in refused
            else self.judge.delivered(reply, next(remaining, None), note)
            for place, note in enumerate(notes)
        ]

    def _single(self, batch: Sequence[Message], email: Email) -> Call:
        request = json_request(f"{self.options.base_url}/emails", email.value)
        key = f"{batch[email.target[0]].id.hex()}-{hashlib.sha256(msgspec.json.encode(email.value)).hexdigest()[:32]}"
        request = with_header(request, b"Idempotency-Key", key)
        return Call(request, (email.target,), is_idempotent=True, note=(email.lost,))

    def _several(self, group: tuple[Email, ...]) -> Call:
        request = json_request(f"{self.options.base_url}/emails/batch", [one.value for one in group])
        # Else one bad address would cost all of them the request.
        request = evolve(request, headers=(*request.headers, (b"x-batch-validation", b"permissive")))
        return Call(request, tuple(one.target for one in group), note=tuple(one.lost for one in group))

    def _content(self, message: Message, parts: Decomposed) -> JsonObject:
        """All of an e-mail but whom it is for."""
        value: JsonObject = {
            "from": spelled(sender_of(message, parts)),
            "subject": parts.subject,
            "tags": [{"name": METADATA_ID, "value": message.id.hex()}],
        }
        if parts.text.strip() or not parts.html:
            value["text"] = parts.text or " "  # an empty one is refused
        if parts.html:
            value["html"] = parts.html
        if parts.reply_to:
            value["reply_to"] = [spelled(one) for one in parts.reply_to]
        if parts.extra_headers:
            value["headers"] = dict(parts.extra_headers)
        files: list[Json] = [_file(one) for one in parts.attachments]
        files += [{**_file(one), "content_id": one.content_id} for one in parts.inline]
        if files:
            value["attachments"] = files
        return value

    def _addressed(self, _: Message, parts: Decomposed, shared: JsonObject, recipient: str) -> JsonObject:
        return {**shared, "to": [spelled(named(recipient, parts))]}


def _file(file: Attachment) -> JsonObject:
    return {"filename": file.file_name, "content": base64(file.data), "content_type": file.content_type}


class ResendKind(ApiKind):
    """Makes Resend channels."""

    options = ResendOptions

    def dialect(self, options: ResendOptions, peer: Peer) -> Resend:
        """For one account."""
        return Resend(options, self.judge(peer, RULES, options))

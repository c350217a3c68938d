"""SendGrid, by its v3 mail/send API: a message in parts, up to 1,000 recipients a request.

https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send

Public: `SendGridKind`, `SendGridOptions`, `SendGrid`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.json import Json, JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.core.receipt import METADATA_ID
from kumotwist.egress.api.dialect import Call, Refused, Target, Unreadable, chunked, targets_of
from kumotwist.egress.api.jsonapi import json_of, json_request, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.options import ApiOptions
from kumotwist.egress.api.parts import base64, lost, named, parts_of, sender_of, with_each_header_once
from kumotwist.net.http import HttpRequest, HttpResponse
from kumotwist.proto.mime.addresses import Address
from kumotwist.proto.mime.parts import Attachment, Decomposed

#: Personalizations of one request (SendGrid).
MAX_RECIPIENTS: Final = 1000

RULES: Final = (
    Rule(Fault.ACCOUNT, (400, 401, 403), says="maximum credits exceeded", meaning="the plan's mail is used up"),
    Rule(Fault.PERMANENT, (400, 413), meaning="a field is wrong; larger than 30 MB"),
)


@options
class SendGridOptions(ApiOptions):
    """Delivery by SendGrid."""

    channel: ClassVar[str] = "sendgrid"

    api_key: KeySource = option("The key; it needs the scope mail.send.", secret=True)
    base_url: str = option(
        "Where its API is; `https://api.eu.sendgrid.com` in the EU.", default="https://api.sendgrid.com"
    )
    categories: tuple[str, ...] = option("Categories that its statistics are kept by, ten at most.", default=())
    ip_pool: str | None = option("The IP pool it sends from.", default=None)
    unsubscribe_group: int | None = option("Its suppression group.", default=None)
    sandbox: bool = option("Have everything checked and nothing sent.", default=False)


@frozen(eq=False)
class SendGrid:
    """Implements `egress.api.dialect.Dialect`."""

    options: SendGridOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request for each thousand recipients; signed and encrypted mail is refused."""
        steps: list[Call | Refused] = []
        for message, every in zip(batch, targets_of(batch), strict=True):
            parts = parts_of(message, every, self.judge)
            if isinstance(parts, Refused):
                steps.append(parts)
                continue
            parts = with_each_header_once(parts)
            content = self._content(message, parts)
            steps += [self._call(message, parts, content, targets) for targets in chunked(every, MAX_RECIPIENTS)]
        return steps

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """A bearer token."""
        return with_header(request, b"Authorization", f"Bearer {secrets['api_key']}")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """202 and `X-Message-Id`, with which the `sg_message_id` of its events begins; in the sandbox 200."""
        if reply.code == (200 if self.options.sandbox else 202):
            outcome = self.judge.delivered(reply, reply.header("x-message-id"), str(call.note or ""))
        elif 200 <= reply.code < 300:
            raise Unreadable(f"{reply.code} instead of 202")
        else:
            errors = at(json_of(reply), "errors")
            said = [_error(one) for one in errors] if isinstance(errors, list) else [text_of(reply)]
            outcome = self.judge.refused(reply, "; ".join(said))
        return [outcome] * len(call.targets)

    def _call(self, message: Message, parts: Decomposed, content: JsonObject, targets: tuple[Target, ...]) -> Call:
        ours: JsonObject = {METADATA_ID: message.id.hex()}
        to: list[Json] = [
            {"to": [_address(named(message.recipients[number].email, parts))], "custom_args": ours}
            for _, number in targets
        ]
        url = f"{self.options.base_url}/v3/mail/send"
        return Call(json_request(url, {"personalizations": to, **content}), targets, note=lost(parts))

    def _content(self, message: Message, parts: Decomposed) -> JsonObject:
        """All of a request but whom it is for."""
        texts: list[Json] = []
        if parts.text or not parts.html:
            texts.append({"type": "text/plain", "value": parts.text or " "})  # an empty one is refused
        if parts.html:
            texts.append({"type": "text/html", "value": parts.html})
        value: JsonObject = {
            "from": _address(sender_of(message, parts)),
            "subject": parts.subject or " ",
            "content": texts,
        }
        if parts.reply_to:
            value["reply_to_list"] = [_address(one) for one in parts.reply_to]
        if parts.extra_headers:
            value["headers"] = dict(parts.extra_headers)
        files: list[Json] = [_file(one, "attachment") for one in parts.attachments]
        files += [_file(one, "inline") for one in parts.inline]
        if files:
            value["attachments"] = files
        return {**value, **self._settings()}

    def _settings(self) -> JsonObject:
        chosen = self.options
        value: JsonObject = {}
        if chosen.categories:
            value["categories"] = list(chosen.categories)
        if chosen.ip_pool is not None:
            value["ip_pool_name"] = chosen.ip_pool
        if chosen.unsubscribe_group is not None:
            value["asm"] = {"group_id": chosen.unsubscribe_group}
        if chosen.sandbox:
            value["mail_settings"] = {"sandbox_mode": {"enable": True}}
        return value


def _address(address: Address) -> JsonObject:
    return {"email": address.email, "name": address.name} if address.name else {"email": address.email}


def _file(file: Attachment, disposition: str) -> JsonObject:
    value: JsonObject = {
        "content": base64(file.data),
        "type": file.content_type,
        "filename": file.file_name,
        "disposition": disposition,
    }
    return {**value, "content_id": file.content_id} if disposition == "inline" else value


def _error(error: object) -> str:
    """`field: message` of an entry of `errors`."""
    field, message = at(error, "field"), str(at(error, "message") or "")
    return f"{field}: {message}" if field else message


class SendGridKind(ApiKind):
    """Makes SendGrid channels."""

    options = SendGridOptions

    def dialect(self, options: SendGridOptions, peer: Peer) -> SendGrid:
        """For one account."""
        return SendGrid(options, self.judge(peer, RULES, options))

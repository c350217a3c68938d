"""Brevo, by its transactional e-mail API: a message in parts, one recipient a request.

Its `messageVersions` could take many recipients, but only of one message, and
answer with ids and no word on which recipient was refused.

https://developers.brevo.com/reference/sendtransacemail

Public: `BrevoKind`, `BrevoOptions`, `Brevo`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import evolve, frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.json import Json, JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.batch import Email, emails_of, with_one_reply_to
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.jsonapi import json_of, json_request, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.options import ApiOptions
from kumotwist.egress.api.parts import base64, named, sender_of, with_each_header_once
from kumotwist.net.http import HttpRequest, HttpResponse
from kumotwist.proto.mime.addresses import Address
from kumotwist.proto.mime.losses import Loss, LossKind
from kumotwist.proto.mime.parts import Decomposed

RULES: Final = (
    Rule(Fault.ACCOUNT, (), "not_enough_credits", meaning="no credits left"),
    Rule(Fault.ACCOUNT, (), "unauthorized", meaning="the key is not known, or not from this address"),
    Rule(Fault.ACCOUNT, (), "permission_denied", meaning="the account may not send"),
    Rule(Fault.ACCOUNT, (), "account_under_validation", meaning="the account waits for approval"),
    Rule(Fault.PERMANENT, (400,), "invalid_parameter", meaning="a field is wrong, or an address"),
    Rule(Fault.PERMANENT, (400,), "missing_parameter", meaning="a field is missing"),
)
#: Its word for an idempotency key that it has seen within half an hour.
SEEN: Final = "duplicate_parameter"


@options
class BrevoOptions(ApiOptions):
    """Delivery by Brevo."""

    channel: ClassVar[str] = "brevo"

    api_key: KeySource = option("The key.", secret=True)
    base_url: str = option("Where its API is.", default="https://api.brevo.com")
    tags: tuple[str, ...] = option("Tags that its statistics are kept by.", default=())
    sandbox: bool = option("Have everything checked and nothing sent.", default=False)


@frozen(eq=False)
class Brevo:
    """Implements `egress.api.dialect.Dialect`."""

    options: BrevoOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request for each recipient; signed and encrypted mail is refused."""
        made = emails_of(batch, self.judge, self._content, self._addressed, _adapted)
        return [self._call(one) if isinstance(one, Email) else one for one in made]

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """The bare key in a header of its own."""
        return with_header(request, b"api-key", secrets["api_key"])

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """201 and the messageId that its events carry as `message-id`."""
        said = json_of(reply)
        code, text = at(said, "code"), str(at(said, "message") or ("" if said else text_of(reply)))
        if 200 <= reply.code < 300:
            remote_id = at(said, "messageId") or at(said, "messageIds", 0)
            if not remote_id:
                raise Unreadable("its answer has no messageId")
            return [self.judge.delivered(reply, str(remote_id), str(call.note or ""))]
        if code == SEEN:
            # It does not say what became of the first request: it may have been taken, or refused for a passing fault.
            raise Unreadable(f"{reply.code} {code}: it had this request before")
        return [self.judge.refused(reply, text, str(code) if code else None)]

    def _call(self, email: Email) -> Call:
        return Call(
            json_request(f"{self.options.base_url}/v3/smtp/email", email.value), (email.target,), note=email.lost
        )

    def _content(self, message: Message, parts: Decomposed) -> JsonObject:
        """All of an e-mail but whom it is for."""
        value: JsonObject = {"sender": _address(sender_of(message, parts)), "subject": parts.subject or " "}
        if parts.text.strip() or not parts.html:
            value["textContent"] = parts.text or " "  # an empty one is refused
        if parts.html:
            value["htmlContent"] = parts.html
        if parts.reply_to:
            value["replyTo"] = _address(parts.reply_to[0])
        files: list[Json] = [{"name": one.file_name, "content": base64(one.data)} for one in parts.attachments]
        if files:
            value["attachment"] = files
        if self.options.tags:
            value["tags"] = list(self.options.tags)
        return value

    def _addressed(self, message: Message, parts: Decomposed, shared: JsonObject, recipient: str) -> JsonObject:
        headers: JsonObject = dict(parts.extra_headers)
        headers["X-Mailin-custom"] = message.id.hex()
        headers["idempotencyKey"] = _key(message, recipient)
        if self.options.sandbox:
            headers["X-Sib-Sandbox"] = "drop"
        return {**shared, "to": [_address(named(recipient, parts))], "headers": headers}


def _adapted(parts: Decomposed) -> Decomposed:
    """It has no files that are shown in place: they go along as attachments. Headers are an object, Reply-To is one."""
    losses = [Loss(LossKind.INLINE, one.file_name) for one in parts.inline]
    attached = evolve(
        parts, attachments=(*parts.attachments, *parts.inline), inline=(), losses=(*parts.losses, *losses)
    )
    return with_one_reply_to(with_each_header_once(attached))


def _address(address: Address) -> JsonObject:
    return {"email": address.email, "name": address.name} if address.name else {"email": address.email}


def _key(message: Message, recipient: str) -> str:
    """A UUID, as Brevo wants it, that is the same for each attempt of one recipient."""
    digest = hashlib.sha256(message.id + recipient.encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


class BrevoKind(ApiKind):
    """Makes Brevo channels."""

    options = BrevoOptions

    def dialect(self, options: BrevoOptions, peer: Peer) -> Brevo:
        """For one account."""
        return Brevo(options, self.judge(peer, RULES, options))

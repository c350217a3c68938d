"""Mailjet, by its Send API v3.1: messages in parts, up to 50 e-mails a request, an answer for each.

https://dev.mailjet.com/email/guides/send-api-v31/

Public: `MailjetKind`, `MailjetOptions`, `Mailjet`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal

from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.json import Json, JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.batch import Email, emails_of, packed, refused_together, split, with_one_reply_to
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.jsonapi import json_of, json_request, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.options import ApiOptions
from kumotwist.egress.api.parts import base64, named, sender_of, with_each_header_once
from kumotwist.net.http import HttpRequest, HttpResponse
from kumotwist.proto.mime.addresses import Address
from kumotwist.proto.mime.parts import Attachment, Decomposed

#: Recipients of one request, all messages together (Mailjet).
MAX_BATCH: Final = 50
#: Octets of one message (Mailjet). Larger requests only make each failure dearer.
MAX_OCTETS: Final = 15_000_000
#: Header fields besides the usual ones that it sets itself: it refuses messages that bring them (send-0011).
FORBIDDEN: Final = frozenset(
    (
        *("message-id", "user-agent", "x-mailer", "list-id", "x-csa-complaints", "x-feedback-id", "x-mj-customid"),
        *("x-mj-eventpayload", "x-mj-mid", "x-mj-vars", "x-mj-templateid", "x-mj-templatelanguage", "x-mj-workflowid"),
        *("x-mailjet-prio", "x-mailjet-debug", "x-mailjet-campaign", "x-mailjet-segmentation", "x-mailjet-trackopen"),
        *("x-mailjet-trackclick", "x-mj-templateerrordeliver", "x-mj-templateerrorreporting", "x-mj-errormessage"),
        *("x-mj-statisticscontactslistid",),
    )
)

RULES: Final = (
    Rule(Fault.ACCOUNT, (), "mj-0001", meaning="the API key is suspended"),
    Rule(Fault.ACCOUNT, (), "mj-0015", meaning="the API key is not known or may not send"),
    Rule(Fault.ACCOUNT, (), "send-0006", meaning="the API key may not set a Sender"),
    Rule(Fault.ACCOUNT, (), "send-0007", meaning="the sender is not validated"),
    Rule(Fault.ACCOUNT, (), "send-0008", meaning="the address in From is not validated"),
    Rule(Fault.PERMANENT, (), "mj-0013", meaning="an address is no address"),
    Rule(Fault.PERMANENT, (), "send-0003", meaning="the message has no text"),
    Rule(Fault.PERMANENT, (), "send-0011", meaning="a header field that Mailjet sets itself"),
    Rule(Fault.PERMANENT, (400,), meaning="a field is missing or wrong"),
)


@options
class MailjetOptions(ApiOptions):
    """Delivery by Mailjet."""

    channel: ClassVar[str] = "mailjet"

    api_key: str = option("The API key, which names the account.")
    secret_key: KeySource = option("The secret key that goes with it.", secret=True)
    base_url: str = option(
        "Where its API is; `https://api.us.mailjet.com` in the US.", default="https://api.mailjet.com"
    )
    campaign: str | None = option("The campaign that its statistics are kept by.", default=None)
    track_opens: Literal["account_default", "disabled", "enabled"] | None = option(
        "Whether to have opens tracked; none: as set up there.", default=None
    )
    track_clicks: Literal["account_default", "disabled", "enabled"] | None = option(
        "Whether to have clicks tracked; none: as set up there.", default=None
    )
    sandbox: bool = option("Have everything checked and nothing sent.", default=False)


@frozen(eq=False)
class Mailjet:
    """Implements `egress.api.dialect.Dialect`."""

    options: MailjetOptions
    judge: Judge

    max_batch: int = MAX_BATCH

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """As few requests as hold an e-mail for each recipient; signed and encrypted mail is refused."""
        steps, emails = split(emails_of(batch, self.judge, self._content, self._addressed, _adapted))
        return [*steps, *[self._call(group) for group in packed(emails, MAX_BATCH, MAX_OCTETS)]]

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """Basic, of key and secret."""
        pair = f"{self.options.api_key}:{secrets['secret_key']}"
        return with_header(request, b"Authorization", f"Basic {b64encode(pair.encode()).decode()}")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """An answer for each e-mail, under whatever status: good ones are sent although others are refused."""
        said = json_of(reply)
        entries = at(said, "Messages")
        if isinstance(entries, list) and len(entries) == len(call.targets):
            notes = call.note if isinstance(call.note, tuple) else ()
            return [self._one(reply, entry, note) for entry, note in zip(entries, notes, strict=True)]
        if 200 <= reply.code < 300:
            raise Unreadable("its answer does not have an entry for each e-mail")
        code, text = at(said, "ErrorCode"), str(at(said, "ErrorMessage") or ("" if said else text_of(reply)))
        one = refused_together(self.judge, reply, len(call.targets), text, None if code is None else str(code))
        return [one] * len(call.targets)

    def _one(self, reply: HttpResponse, entry: object, note: str) -> Outcome:
        if at(entry, "Status") == "success":
            remote_id = at(entry, "To", 0, "MessageID") or at(entry, "To", 0, "MessageUUID")
            return self.judge.delivered(reply, str(remote_id) if remote_id else None, note)
        errors = at(entry, "Errors")
        if not isinstance(errors, list) or not errors:
            raise Unreadable("an entry of its answer is neither a success nor an error")
        text = "; ".join([str(at(one, "ErrorMessage") or "") for one in errors])
        return self.judge.refused(reply, text, str(at(errors, 0, "ErrorCode") or ""), otherwise=Fault.PERMANENT)

    def _call(self, group: tuple[Email, ...]) -> Call:
        value: JsonObject = {"Messages": [one.value for one in group]}
        if self.options.sandbox:
            value["SandboxMode"] = True
        request = json_request(f"{self.options.base_url}/v3.1/send", value)
        return Call(request, tuple(one.target for one in group), note=tuple(one.lost for one in group))

    def _content(self, message: Message, parts: Decomposed) -> JsonObject:
        """All of an e-mail but whom it is for."""
        value: JsonObject = {
            "From": _address(sender_of(message, parts)),
            "Subject": parts.subject,
            "CustomID": message.id.hex(),
        }
        if parts.text.strip() or not parts.html:
            value["TextPart"] = parts.text or " "  # an empty one is refused
        if parts.html:
            value["HTMLPart"] = parts.html
        if parts.reply_to:
            value["ReplyTo"] = _address(parts.reply_to[0])
        headers: JsonObject = {name: text for name, text in parts.extra_headers if name.lower() not in FORBIDDEN}
        attached: list[Json] = [_file(one) for one in parts.attachments]
        inline: list[Json] = [{**_file(one), "ContentID": one.content_id} for one in parts.inline]
        found: dict[str, Json] = {"Headers": headers, "Attachments": attached, "InlinedAttachments": inline}
        return {**value, **{name: one for name, one in found.items() if one}, **self._settings()}

    def _settings(self) -> JsonObject:
        chosen = self.options
        settings: dict[str, Json] = {
            "CustomCampaign": chosen.campaign,
            "TrackOpens": chosen.track_opens,
            "TrackClicks": chosen.track_clicks,
        }
        return {name: value for name, value in settings.items() if value is not None}

    def _addressed(self, _: Message, parts: Decomposed, shared: JsonObject, recipient: str) -> JsonObject:
        return {**shared, "To": [_address(named(recipient, parts))]}


def _adapted(parts: Decomposed) -> Decomposed:
    """Its headers are an object, and it takes one Reply-To."""
    return with_one_reply_to(with_each_header_once(parts))


def _address(address: Address) -> JsonObject:
    return {"Email": address.email, "Name": address.name} if address.name else {"Email": address.email}


def _file(file: Attachment) -> JsonObject:
    return {"Filename": file.file_name, "Base64Content": base64(file.data), "ContentType": file.content_type}


class MailjetKind(ApiKind):
    """Makes Mailjet channels."""

    options = MailjetOptions

    def dialect(self, options: MailjetOptions, peer: Peer) -> Mailjet:
        """For one account."""
        return Mailjet(options, self.judge(peer, RULES, options))

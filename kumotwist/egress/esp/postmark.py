"""Postmark, by its batch API: messages in parts, up to 500 e-mails a request, an answer for each.

https://postmarkapp.com/developer/api/email-api

Public: `PostmarkKind`, `PostmarkOptions`, `Postmark`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal

from attrs import frozen

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
from kumotwist.egress.api.parts import base64, named, sender_of
from kumotwist.net.http import HttpRequest, HttpResponse
from kumotwist.proto.mime.parts import Attachment, Decomposed

#: E-mails and octets of one batch (Postmark).
MAX_BATCH: Final = 500
MAX_OCTETS: Final = 50_000_000

RULES: Final = (
    Rule(Fault.ACCOUNT, (), "10", meaning="the server token is bad or missing"),
    Rule(Fault.TRANSIENT, (), "100", meaning="maintenance"),
    Rule(Fault.PERMANENT, (), "300", meaning="a field is wrong, or an address"),
    Rule(Fault.ACCOUNT, (), "400", meaning="no sender signature for From"),
    Rule(Fault.ACCOUNT, (), "401", meaning="the sender signature is not confirmed"),
    Rule(Fault.PERMANENT, (), "402", meaning="the JSON is wrong"),
    Rule(Fault.ACCOUNT, (), "405", meaning="no credits left, or not allowed to send"),
    Rule(Fault.PERMANENT, (), "406", meaning="the recipient is inactive: it bounced or complained before"),
    Rule(Fault.PERMANENT, (), "411", meaning="a file of a forbidden type is attached"),
    Rule(Fault.ACCOUNT, (), "412", meaning="the account waits for approval"),
    Rule(Fault.ACCOUNT, (), "413", meaning="the account may not send"),
    Rule(Fault.THROTTLED, (), "429", meaning="too many requests"),
    Rule(Fault.PERMANENT, (413,), meaning="larger than 10 MB"),
)


@options
class PostmarkOptions(ApiOptions):
    """Delivery by Postmark."""

    channel: ClassVar[str] = "postmark"

    server_token: KeySource = option("The token of the server to send by.", secret=True)
    base_url: str = option("Where its API is.", default="https://api.postmarkapp.com")
    message_stream: str | None = option("The message stream; none: its transactional one.", default=None)
    tag: str | None = option("The tag that its statistics are kept by.", default=None)
    track_opens: bool | None = option("Have opens tracked; none: as set up there.", default=None)
    track_links: Literal["None", "HtmlAndText", "HtmlOnly", "TextOnly"] | None = option(
        "Which links to have tracked; none: as set up there.", default=None
    )


@frozen(eq=False)
class Postmark:
    """Implements `egress.api.dialect.Dialect`."""

    options: PostmarkOptions
    judge: Judge

    max_batch: int = MAX_BATCH

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """As few requests as hold an e-mail for each recipient; signed and encrypted mail is refused."""
        steps, emails = split(emails_of(batch, self.judge, self._content, self._addressed))
        return [*steps, *[self._call(group) for group in packed(emails, MAX_BATCH, MAX_OCTETS)]]

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """The bare token in a header of its own."""
        return with_header(request, b"X-Postmark-Server-Token", secrets["server_token"])

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """200 and an answer for each e-mail, with ErrorCode 0 and a MessageID for those that were taken."""
        said = json_of(reply)
        if 200 <= reply.code < 300:
            if not isinstance(said, list) or len(said) != len(call.targets):
                raise Unreadable("its answer does not have an entry for each e-mail")
            notes = call.note if isinstance(call.note, tuple) else ()
            return [self._one(reply, entry, note) for entry, note in zip(said, notes, strict=True)]
        code = at(said, "ErrorCode")
        text = str(at(said, "Message") or ("" if said else text_of(reply)))
        one = refused_together(self.judge, reply, len(call.targets), text, None if code is None else str(code))
        return [one] * len(call.targets)

    def _one(self, reply: HttpResponse, entry: object, note: str) -> Outcome:
        code, text = at(entry, "ErrorCode"), str(at(entry, "Message") or "")
        if code is None:
            raise Unreadable("an entry of its answer has no ErrorCode")
        if code == 0:
            return self.judge.delivered(reply, str(at(entry, "MessageID") or "") or None, note)
        return self.judge.refused(reply, text, str(code), otherwise=Fault.PERMANENT)

    def _call(self, group: tuple[Email, ...]) -> Call:
        request = json_request(f"{self.options.base_url}/email/batch", [one.value for one in group])
        return Call(request, tuple(one.target for one in group), note=tuple(one.lost for one in group))

    def _content(self, message: Message, parts: Decomposed) -> JsonObject:
        """All of an e-mail but whom it is for."""
        value: JsonObject = {
            "From": spelled(sender_of(message, parts)),
            "Subject": parts.subject,
            "Metadata": {METADATA_ID: message.id.hex()},
        }
        if parts.text.strip() or not parts.html:
            value["TextBody"] = parts.text or " "  # an empty one is refused
        if parts.html:
            value["HtmlBody"] = parts.html
        if parts.reply_to:
            value["ReplyTo"] = ", ".join([spelled(one) for one in parts.reply_to])
        headers: list[Json] = [{"Name": name, "Value": text} for name, text in parts.extra_headers]
        files: list[Json] = [_file(one) for one in parts.attachments]
        files += [{**_file(one), "ContentID": f"cid:{one.content_id}"} for one in parts.inline]
        if headers:
            value["Headers"] = headers
        if files:
            value["Attachments"] = files
        return {**value, **self._settings()}

    def _settings(self) -> JsonObject:
        chosen = self.options
        settings: dict[str, Json] = {
            "MessageStream": chosen.message_stream,
            "Tag": chosen.tag,
            "TrackOpens": chosen.track_opens,
            "TrackLinks": chosen.track_links,
        }
        return {name: value for name, value in settings.items() if value is not None}

    def _addressed(self, _: Message, parts: Decomposed, shared: JsonObject, recipient: str) -> JsonObject:
        return {**shared, "To": spelled(named(recipient, parts))}


def _file(file: Attachment) -> JsonObject:
    return {"Name": file.file_name, "Content": base64(file.data), "ContentType": file.content_type}


class PostmarkKind(ApiKind):
    """Makes Postmark channels."""

    options = PostmarkOptions

    def dialect(self, options: PostmarkOptions, peer: Peer) -> Postmark:
        """For one server."""
        return Postmark(options, self.judge(peer, RULES, options))

"""Bird: by its Channels API, or by the REST API of MessageBird, which it was.

https://docs.bird.com/api/channels-api/supported-channels/programmable-sms/sending-sms-messages
https://developers.messagebird.com/api/sms-messaging/

Public: `BirdKind`, `BirdOptions`, `Bird`, `MessageBird`. What can go wrong: ValueError
from options with half of what names a Bird channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import Duration, option, options
from kumotwist.core.json import JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.dialect import Call, Dialect, Refused
from kumotwist.egress.api.jsonapi import id_in, json_of, json_request, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.sms.gateway import Text, digits, plan_texts, refused, taken
from kumotwist.egress.sms.options import CallbackOptions, validity
from kumotwist.net.http import HttpRequest, HttpResponse

_BIRD: Final = "https://api.bird.com"
_MESSAGEBIRD: Final = "https://rest.messagebird.com"
#: Seconds that MessageBird keeps a text: two days at most (`validity` of its API); the least is ours.
MIN_VALIDITY: Final = 60
MAX_VALIDITY: Final = 172_800

RULES: Final = (
    Rule(Fault.ACCOUNT, code="2", meaning="MessageBird: the access key is wrong"),
    Rule(Fault.ACCOUNT, code="25", meaning="MessageBird: no credit"),
    Rule(Fault.TRANSIENT, code="99", meaning="MessageBird: an error of its own"),
    Rule(Fault.ACCOUNT, (404,), meaning="the workspace or its channel does not exist"),
    Rule(Fault.TRANSIENT, (409,), meaning="the channel is in no state to send"),
    Rule(Fault.PERMANENT, (400, 422), meaning="a field is wrong"),
)


@options
class BirdOptions(CallbackOptions):
    """Text messages by Bird."""

    channel: ClassVar[str] = "bird"

    access_key: KeySource = option("The access key.", secret=True)
    workspace: str | None = option("Id of the workspace; none: the key is one of MessageBird's.", default=None)
    channel_id: str | None = option("Id of the workspace's SMS channel, which has the sender.", default=None)
    validity: Duration | None = validity()
    base_url: str = option(f"Where its API is; none: `{_BIRD}` or `{_MESSAGEBIRD}`.", default="")

    def __attrs_post_init__(self) -> None:
        """Raises ValueError when only half of a Bird channel is named."""
        if (self.workspace is None) != (self.channel_id is None):
            raise ValueError("must have both 'workspace' and 'channel_id', or neither")


class _Account:
    """What both ways share: the key and how it is shown."""

    options: BirdOptions

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """`AccessKey`, and the key."""
        return with_header(request, b"Authorization", f"AccessKey {secrets['access_key']}")


@frozen(eq=False, slots=False)
class Bird(_Account):
    """Implements `egress.api.dialect.Dialect` for the Channels API."""

    options: BirdOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        return plan_texts(batch, self.options, self.judge, self._request, now)

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """202 and `id`; our id comes back as `reference`."""
        answer = json_of(reply)
        if 200 <= reply.code < 300:
            return taken(self.judge, reply, call, id_in(answer, "id"))
        return refused(self.judge, reply, call, str(at(answer, "message") or text_of(reply)), at(answer, "code"))

    def _request(self, text: Text) -> HttpRequest:
        chosen = self.options
        value = {
            "receiver": {"contacts": [{"identifierKey": "phonenumber", "identifierValue": text.to}]},
            "body": {"type": "text", "text": {"text": text.words}},
            "reference": text.id,
        }
        return json_request(
            f"{chosen.base_url}/workspaces/{chosen.workspace}/channels/{chosen.channel_id}/messages", value
        )


@frozen(eq=False, slots=False)
class MessageBird(_Account):
    """Implements `egress.api.dialect.Dialect` for the REST API."""

    options: BirdOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        return plan_texts(batch, self.options, self.judge, self._request, now, needs_sender=True)

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """201 and `id`; errors have numbers."""
        answer = json_of(reply)
        if 200 <= reply.code < 300:
            return taken(self.judge, reply, call, id_in(answer, "id"))
        error = at(answer, "errors", 0)
        text = ": ".join(str(at(error, key)) for key in ("parameter", "description") if at(error, key))
        return refused(self.judge, reply, call, text or text_of(reply), at(error, "code"))

    def _request(self, text: Text) -> HttpRequest:
        chosen = self.options
        value: JsonObject = {
            "originator": digits(text.sender or ""),
            "recipients": [digits(text.to)],
            "body": text.words,
            "reference": text.id,
            "datacoding": "unicode" if text.is_unicode else "plain",
        }
        if chosen.status_url is not None:
            value["reportUrl"] = text.callback(chosen.status_url)
        life = text.validity(chosen.validity, MIN_VALIDITY, MAX_VALIDITY)
        if life is not None:
            value["validity"] = life
        return json_request(f"{chosen.base_url}/messages", value)


class BirdKind(ApiKind):
    """Makes Bird channels."""

    options = BirdOptions

    def base_url(self, options: BirdOptions) -> str:
        """By which way it goes."""
        return options.base_url or (_MESSAGEBIRD if options.workspace is None else _BIRD)

    def dialect(self, options: BirdOptions, peer: Peer) -> Dialect:
        """For one channel of a workspace, or one account of MessageBird's."""
        judge = self.judge(peer, RULES, options)
        return MessageBird(options, judge) if options.workspace is None else Bird(options, judge)

"""Bird, by its Channels API: JSON for each text, sent by a channel of a workspace.

https://docs.bird.com/api/channels-api/supported-channels/programmable-sms/sending-sms-messages

Public: `BirdKind`, `BirdOptions`, `Bird`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.jsonapi import json_of, json_request, member, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.sms.gateway import Text, plan_texts, refused, taken
from kumotwist.egress.sms.options import SmsOptions
from kumotwist.net.http import HttpRequest, HttpResponse

RULES: Final = (
    Rule(Fault.ACCOUNT, (404,), meaning="the workspace or its channel does not exist"),
    Rule(Fault.TRANSIENT, (409,), meaning="the channel is in no state to send"),
    Rule(Fault.PERMANENT, (400, 422), meaning="a field is wrong"),
)


@options
class BirdOptions(SmsOptions):
    """Text messages by Bird."""

    channel: ClassVar[str] = "bird"

    access_key: KeySource = option("The access key.", secret=True)
    workspace: str = option("Id of the workspace.")
    channel_id: str = option("Id of its SMS channel, which has the sender.")
    base_url: str = option("Where its API is.", default="https://api.bird.com")


@frozen(eq=False)
class Bird:
    """Implements `egress.api.dialect.Dialect`."""

    options: BirdOptions
    judge: Judge

    max_batch: int = 1

    @property
    def secrets(self) -> Mapping[str, KeySource]:
        """The access key."""
        return {"access_key": self.options.access_key}

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        return plan_texts(batch, self.options, self.judge, self._request, now)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """`AccessKey`, and the key."""
        return with_header(request, b"Authorization", f"AccessKey {secrets['access_key']}")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """202 and `id`; our id comes back as `reference`."""
        answer = json_of(reply)
        if 200 <= reply.code < 300:
            name = member(answer, "id")
            if not isinstance(name, str) or not name:
                raise Unreadable("no id in the reply")
            return taken(self.judge, reply, call, name)
        return refused(
            self.judge, reply, call, str(member(answer, "message") or text_of(reply)), member(answer, "code")
        )

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


class BirdKind(ApiKind):
    """Makes Bird channels."""

    options = BirdOptions

    def dialect(self, options: BirdOptions, peer: Peer) -> Bird:
        """For one channel of a workspace."""
        return Bird(options, self.judge(peer, RULES, options))

"""SparkPost, by its transmissions API: raw MIME in JSON, one recipient a request.

A transmission may have many recipients, but its reply only counts those that
were refused; one a request says which.

https://developers.sparkpost.com/api/transmissions/

Public: `SparkPostKind`, `SparkPostOptions`, `SparkPost`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.json import JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.core.receipt import METADATA_ID
from kumotwist.egress.api.dialect import Call, Refused, targets_of
from kumotwist.egress.api.jsonapi import id_in, json_of, json_request, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.options import ApiOptions
from kumotwist.egress.api.rawmime import outgoing
from kumotwist.net.http import HttpRequest, HttpResponse

RULES: Final = (
    Rule(Fault.THROTTLED, (420,), meaning="the hourly or daily sending limit is used up"),
    Rule(Fault.ACCOUNT, (400,), "7001", meaning="the sending domain is not verified"),
    Rule(Fault.ACCOUNT, (400,), "1100", meaning="the sending domain has no DKIM key"),
    Rule(Fault.PERMANENT, (400, 422), "1902", meaning="the message could not be generated"),
    Rule(Fault.PERMANENT, (400, 422), "1603", meaning="the content has a mistake"),
    Rule(Fault.PERMANENT, (400, 422), "1400", meaning="a field is wrong"),
)

_NOT_TEXT: Final = "not representable: JSON carries text in UTF-8, and this message has octets that are not"


@options
class SparkPostOptions(ApiOptions):
    """Delivery by SparkPost."""

    channel: ClassVar[str] = "sparkpost"

    api_key: KeySource = option("The key; it needs the right Transmissions: Read/Write.", secret=True)
    base_url: str = option(
        "Where its API is; `https://api.eu.sparkpost.com` in the EU.", default="https://api.sparkpost.com"
    )
    return_path: str | None = option("Envelope sender; its domain must be a verified bounce domain.", default=None)
    ip_pool: str | None = option("The IP pool it sends from.", default=None)
    track: bool = option("Have opens and clicks tracked.", default=False)
    transactional: bool = option("Tell it that the mail is transactional.", default=False)


@frozen(eq=False)
class SparkPost:
    """Implements `egress.api.dialect.Dialect`."""

    options: SparkPostOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request for each recipient."""
        steps: list[Call | Refused] = []
        for message, targets in zip(batch, targets_of(batch), strict=True):
            try:
                text = outgoing(message.body or b"").decode()
            except UnicodeDecodeError:
                steps.append(Refused(targets, self.judge.outcome(Fault.PERMANENT, _NOT_TEXT)))
                continue
            steps += [Call(self._request(message, target[1], text), (target,)) for target in targets]
        return steps

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """The bare key."""
        return with_header(request, b"Authorization", secrets["api_key"])

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """`results.id` comes back as `transmission_id`; a 200 may still have refused the recipient."""
        answer = json_of(reply)
        error = at(answer, "errors", 0)
        text = str(at(error, "description") or at(error, "message") or ("" if answer else text_of(reply)))
        if 200 <= reply.code < 300 and at(answer, "results", "total_rejected_recipients"):
            outcome = self.judge.outcome(Fault.PERMANENT, f"200 OK: the recipient was rejected {text}".rstrip())
        elif 200 <= reply.code < 300:
            outcome = self.judge.delivered(reply, id_in(answer, "results", "id"))
        else:
            code = at(error, "code")
            outcome = self.judge.refused(reply, text, str(code) if code is not None else None)
        return [outcome] * len(call.targets)

    def _request(self, message: Message, number: int, text: str) -> HttpRequest:
        chosen = self.options
        settings: JsonObject = {
            "perform_substitutions": False,  # what looks like a template in finished mail is not one
            "open_tracking": chosen.track,
            "click_tracking": chosen.track,
            "transactional": chosen.transactional,
        }
        if chosen.ip_pool is not None:
            settings["ip_pool"] = chosen.ip_pool
        value: JsonObject = {
            "options": settings,
            "recipients": [{"address": {"email": message.recipients[number].email}}],
            "metadata": {METADATA_ID: message.id.hex()},
            "content": {"email_rfc822": text},
        }
        if chosen.return_path is not None:
            value["return_path"] = chosen.return_path
        return json_request(f"{chosen.base_url}/api/v1/transmissions", value)


class SparkPostKind(ApiKind):
    """Makes SparkPost channels."""

    options = SparkPostOptions

    def dialect(self, options: SparkPostOptions, peer: Peer) -> SparkPost:
        """For one account."""
        return SparkPost(options, self.judge(peer, RULES, options))

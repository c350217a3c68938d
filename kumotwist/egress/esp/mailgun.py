"""Mailgun, by its messages.mime API: raw MIME in a form, up to 1,000 recipients a request.

https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages

Public: `MailgunKind`, `MailgunOptions`, `Mailgun`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.json import at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.core.receipt import METADATA_ID
from kumotwist.egress.api.dialect import Call, Refused, Target, chunked, targets_of
from kumotwist.egress.api.jsonapi import id_in, json_of, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.options import ApiOptions
from kumotwist.egress.api.rawmime import outgoing
from kumotwist.egress.api.retryafter import seconds_of
from kumotwist.net.http import HttpRequest, HttpResponse, basic_auth
from kumotwist.net.httpform import Part, multipart

#: Recipients of one request (Mailgun).
MAX_RECIPIENTS: Final = 1000

RULES: Final = (
    Rule(Fault.ACCOUNT, (400,), says="is not allowed to send", meaning="the domain is disabled or in the sandbox"),
    Rule(Fault.ACCOUNT, (404,), meaning="Mailgun does not know the domain"),
    Rule(Fault.PERMANENT, (400, 413), meaning="a bad parameter or address; larger than 52.4 MiB"),
)
#: `... limit exceeded, try again after <HTTP date>` or `... after N seconds`.
_AGAIN_AFTER: Final = re.compile(r"try again after (.+?)\.?\s*\Z")


@options
class MailgunOptions(ApiOptions):
    """Delivery by Mailgun."""

    channel: ClassVar[str] = "mailgun"

    domain: str = option("The sending domain, as Mailgun knows it.")
    api_key: KeySource = option("The key: the account's or the domain's.", secret=True)
    base_url: str = option(
        "Where its API is; `https://api.eu.mailgun.net` in the EU.", default="https://api.mailgun.net"
    )
    tags: tuple[str, ...] = option("Tags that its statistics are kept by.", default=())


@frozen(eq=False)
class Mailgun:
    """Implements `egress.api.dialect.Dialect`."""

    options: MailgunOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request for each thousand recipients."""
        return [
            Call(self._request(batch[targets[0][0]], targets), targets)
            for every in targets_of(batch)
            for targets in chunked(every, MAX_RECIPIENTS)
        ]

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """HTTP Basic, as user `api`."""
        return with_header(request, b"Authorization", basic_auth("api", secrets["api_key"]).decode())

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """`id` is the Message-ID by which events come back."""
        answer = json_of(reply)
        text = str(at(answer, "message") or text_of(reply))
        if 200 <= reply.code < 300:
            outcome = self.judge.delivered(reply, id_in(answer, "id"), text)
        else:
            match = _AGAIN_AFTER.search(text) if reply.code == 429 else None
            hint = seconds_of(match[1], self.judge.now()) if match else None
            outcome = self.judge.refused(reply, text, hint=hint)
        return [outcome] * len(call.targets)

    def _request(self, message: Message, targets: Sequence[Target]) -> HttpRequest:
        parts = [Part("to", message.recipients[number].email, content_type="text/plain") for _, number in targets]
        parts += [Part("o:tag", tag) for tag in self.options.tags]
        parts.append(Part(f"v:{METADATA_ID}", message.id.hex()))
        parts.append(Part("message", outgoing(message.body or b""), "message.mime", "message/rfc822"))
        kind, body = multipart(parts)
        url = f"{self.options.base_url}/v3/{self.options.domain}/messages.mime"
        return HttpRequest(b"POST", url, ((b"Content-Type", kind.encode()),), body)


class MailgunKind(ApiKind):
    """Makes Mailgun channels."""

    options = MailgunOptions

    def dialect(self, options: MailgunOptions, peer: Peer) -> Mailgun:
        """For one domain."""
        return Mailgun(options, self.judge(peer, RULES, options))

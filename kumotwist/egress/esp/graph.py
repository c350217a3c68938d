"""Microsoft 365, by Graph's sendMail: raw MIME, one message a request, in the name of a mailbox.

https://learn.microsoft.com/graph/api/user-sendmail

Public: `GraphKind`, `GraphOptions`, `Graph`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final
from urllib.parse import quote

from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.json import at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.credentials import Credentials
from kumotwist.egress.api.dialect import Call, Refused, Unreadable, targets_of
from kumotwist.egress.api.jsonapi import json_of, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.oauth import TOKEN, client_credentials
from kumotwist.egress.api.options import ApiOptions
from kumotwist.egress.api.parts import base64
from kumotwist.egress.api.rawmime import addressed
from kumotwist.net.http import HttpRequest, HttpResponse
from kumotwist.proto.mime import headers

RULES: Final = (
    Rule(Fault.ACCOUNT, (404,), meaning="there is no such mailbox"),
    Rule(Fault.PERMANENT, (400,), "ErrorInvalidRecipients", meaning="a recipient is wrong"),
    Rule(Fault.PERMANENT, (403,), "ErrorMessageSizeExceeded", meaning="larger than the mailbox may send"),
    Rule(Fault.PERMANENT, (400, 413), meaning="the message is wrong, or larger than 4 MB"),
)


@options
class GraphOptions(ApiOptions):
    """Delivery by Microsoft 365."""

    channel: ClassVar[str] = "graph"

    mailbox: str = option("The mailbox that sends: its address or id.")
    tenant: str = option("The directory: its id or domain.")
    client_id: str = option("The application's id; it needs the permission Mail.Send.")
    client_secret: KeySource = option("The application's secret.", secret=True)
    base_url: str = option("Where Graph is; national clouds have their own.", default="https://graph.microsoft.com")
    login_url: str = option("Where access tokens come from.", default="https://login.microsoftonline.com")
    save_to_sent_items: bool = option("Keep what was sent in the mailbox.", default=True)


@frozen(eq=False)
class Graph:
    """Implements `egress.api.dialect.Dialect`."""

    options: GraphOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request a message, whose headers name the envelope's recipients."""
        return [
            Call(self._request(message), targets, note=headers.first_value(message.body or b"", "message-id"))
            for message, targets in zip(batch, targets_of(batch), strict=True)
        ]

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """A bearer token."""
        return with_header(request, b"Authorization", f"Bearer {secrets[TOKEN]}")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """202 without a name for the message; bounces come back as mail about its Message-ID."""
        if reply.code == 202:
            outcome = self.judge.delivered(reply, str(call.note) if call.note else None)
        elif 200 <= reply.code < 300:
            raise Unreadable(f"{reply.code} instead of 202")
        else:
            error = at(json_of(reply), "error")
            code, text = at(error, "code"), at(error, "message")
            outcome = self.judge.refused(reply, str(text or text_of(reply)), str(code) if code else None)
        return [outcome] * len(call.targets)

    def _request(self, message: Message) -> HttpRequest:
        body = addressed(message.body or b"", [one.email for one in message.recipients])
        url = f"{self.options.base_url}/v1.0/users/{quote(self.options.mailbox, safe='@')}/sendMail"
        if not self.options.save_to_sent_items:
            url += "?saveToSentItems=false"
        return HttpRequest(b"POST", url, ((b"Content-Type", b"text/plain"),), base64(body).encode())


class GraphKind(ApiKind):
    """Makes Graph channels."""

    options = GraphOptions

    def dialect(self, options: GraphOptions, peer: Peer) -> Graph:
        """For one mailbox."""
        return Graph(options, self.judge(peer, RULES, options))

    def credentials(self, options: GraphOptions) -> Credentials:
        """Access tokens for the application itself."""
        url = f"{options.login_url.rstrip('/')}/{quote(options.tenant)}/oauth2/v2.0/token"
        return self.oauth(options, client_credentials(url, options.client_id, _scope(options.base_url)))


def _scope(base_url: str) -> str:
    """All that the application may do at this Graph."""
    return f"{base_url}/.default"

"""Gmail and Google Workspace, by the Gmail API: raw MIME, one message a request, in the name of a user.

https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages/send

Public: `GmailKind`, `GmailOptions`, `Gmail`.
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
from kumotwist.egress.api.dialect import Call, Refused, Target, targets_of
from kumotwist.egress.api.jsonapi import id_in, json_of, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.oauth import TOKEN, refresh_token, service_account
from kumotwist.egress.api.options import ApiOptions
from kumotwist.egress.api.rawmime import addressed
from kumotwist.net.http import HttpRequest, HttpResponse

#: Octets of a message (Gmail).
MAX_SIZE: Final = 36_700_160

RULES: Final = (
    Rule(Fault.THROTTLED, (403,), "rateLimitExceeded", meaning="too many requests for the project"),
    Rule(Fault.THROTTLED, (403,), "userRateLimitExceeded", meaning="too many requests for the user"),
    Rule(Fault.ACCOUNT, (403, 429), "dailyLimitExceeded", meaning="the day's quota is used up"),
    Rule(Fault.ACCOUNT, (400,), "failedPrecondition", meaning="the user has no mailbox, or delegation is not allowed"),
    Rule(Fault.PERMANENT, (400, 413), meaning="the message is wrong or too large"),
)


@options
class GmailOptions(ApiOptions):
    """Delivery by Gmail, by a service account with delegation or by a user's own consent."""

    channel: ClassVar[str] = "gmail"

    user: str = option("The address of the user who sends.")
    service_account: KeySource | None = option("The JSON key of a service account.", default=None, secret=True)
    client_id: str | None = option("The application's id; with `refresh_token`.", default=None)
    client_secret: KeySource | None = option(
        "The application's secret; with `refresh_token`.", default=None, secret=True
    )
    refresh_token: KeySource | None = option("What the user's consent gave us.", default=None, secret=True)
    base_url: str = option("Where the API is.", default="https://gmail.googleapis.com")
    token_url: str | None = option("Where access tokens come from; none: Google's.", default=None)

    def __attrs_post_init__(self) -> None:
        """Raises ValueError when nothing says how to get in."""
        consent = (self.client_id, self.client_secret, self.refresh_token)
        if self.service_account is None and None in consent:
            raise ValueError("needs service_account, or client_id, client_secret and refresh_token")


_SCOPE: Final = "https://www.googleapis.com/auth/gmail.send"
_TOKEN_URL: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address


@frozen(eq=False)
class Gmail:
    """Implements `egress.api.dialect.Dialect`."""

    options: GmailOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request a message, whose headers name the envelope's recipients."""
        return [self._step(message, targets) for message, targets in zip(batch, targets_of(batch), strict=True)]

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """A bearer token."""
        return with_header(request, b"Authorization", f"Bearer {secrets[TOKEN]}")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """`id` names the message in the mailbox; bounces come back as mail."""
        answer = json_of(reply)
        if 200 <= reply.code < 300:
            outcome = self.judge.delivered(reply, id_in(answer, "id"))
        else:
            error = at(answer, "error")
            reason, text = at(error, "errors", 0, "reason"), at(error, "message")
            outcome = self.judge.refused(reply, str(text or text_of(reply)), str(reason) if reason else None)
        return [outcome] * len(call.targets)

    def _step(self, message: Message, targets: tuple[Target, ...]) -> Call | Refused:
        body = addressed(message.body or b"", [one.email for one in message.recipients])
        if len(body) > MAX_SIZE:
            return Refused(targets, self.judge.outcome(Fault.PERMANENT, f"larger than {MAX_SIZE} octets"))
        user = quote(self.options.user, safe="@")
        url = f"{self.options.base_url}/upload/gmail/v1/users/{user}/messages/send?uploadType=media"
        return Call(HttpRequest(b"POST", url, ((b"Content-Type", b"message/rfc822"),), body), targets)


class GmailKind(ApiKind):
    """Makes Gmail channels."""

    options = GmailOptions

    def dialect(self, options: GmailOptions, peer: Peer) -> Gmail:
        """For one user."""
        return Gmail(options, self.judge(peer, RULES, options))

    def secrets(self, options: GmailOptions) -> Mapping[str, KeySource]:
        """The service account alone, where there is one."""
        found = super().secrets(options)
        return {"service_account": found["service_account"]} if "service_account" in found else found

    def credentials(self, options: GmailOptions) -> Credentials:
        """Access tokens for the user, by whichever way was given."""
        if options.service_account is not None:
            return self.oauth(options, service_account(_SCOPE, options.user, options.token_url))
        return self.oauth(options, refresh_token(options.token_url or _TOKEN_URL, options.client_id or ""))

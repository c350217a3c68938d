"""URLs that chat services give out to post to: the operator's, which is a secret, or one that each message names.

What the operator's URL refuses is a fault of the account and makes everything
wait. A URL that a message named was chosen by whoever made the message: what it
refuses concerns that message alone, and when it is gone the application hears of it.

Public: `Hook`, `HookKind`. What can go wrong: SecretUnavailable for a secret that is no URL.
No text ever has more of a URL than its host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import evolve, frozen

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.errors import SecretUnavailable
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer, Scope
from kumotwist.egress.api.dialect import Call
from kumotwist.egress.api.judge import Fault, Judge
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.session import ApiChannel
from kumotwist.egress.chat.options import HookOptions
from kumotwist.egress.chat.post import Post
from kumotwist.net.http import HttpRequest, HttpResponse, clean_url
from kumotwist.net.publicaddress import private_host
from kumotwist.proto.translate.whom import chat_for

#: Statuses after which the URL is read anew: it is the credential.
REFUSALS: Final = frozenset((401, 403, 404, 410))
#: Characters of a URL that a message names. Ours: the longest that servers commonly take.
MAX_URL: Final = 8192


@frozen
class Hook:
    """Where to post, for one set of options. `query` is added to each URL."""

    options: HookOptions
    query: str = ""

    def to(self, message: Message, recipient: EnvelopeAddress) -> str:
        """The URL that the message names, "" when the operator's is used. Raises ValueError."""
        if self.options.has_one_place:
            return ""
        url = _url(chat_for(message, recipient, self.options))
        if not self.options.allow_private_addresses and private_host(url) is not None:
            raise ValueError("the chat is a URL that is not on the public Internet")
        return url

    def request(self, post: Post, request: HttpRequest) -> HttpRequest:
        """The request to the message's URL; for the operator's it has the host only until `authorize`."""
        return evolve(request, url=self._with_query(post.to or self.options.base_url), has_secret_path=True)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str]) -> HttpRequest:
        """The same to the operator's URL. Raises SecretUnavailable."""
        if "webhook" not in secrets:
            return request
        secret = secrets["webhook"]
        try:
            url = _url(secret if "://" in secret else f"{self.options.base_url}/{secret.lstrip('/')}")
        except ValueError:
            raise SecretUnavailable("webhook is no http or https URL", permanent=True) from None
        return evolve(request, url=self._with_query(url))

    def refused(
        self,
        judge: Judge,
        reply: HttpResponse,
        call: Call,
        text: str,
        code: str | None = None,
        hint: float | None = None,
    ) -> list[Outcome]:
        """The outcome of a post that was not taken, by whose URL it was."""
        outcome = judge.refused(reply, text, code, hint)
        if self.options.webhook is None:
            # Only what the service itself says ends an address: a 403 may come of a firewall on the way.
            says = next((rule.fault for rule in judge.rules if rule.covers(reply.code, code, text)), None)
            if says is Fault.ACCOUNT:
                outcome = judge.outcome(Fault.DEAD, outcome.response.content)
            outcome = self.told(evolve(outcome, scope=Scope.MESSAGE), call)
        return [outcome] * len(call.targets)

    def told(self, outcome: Outcome, call: Call) -> Outcome:
        """The outcome with the host that was called, where the message named it."""
        if self.options.webhook is not None or outcome.peer is None:
            return outcome
        host = urlsplit(call.request.url).netloc.rpartition("@")[2]
        return evolve(outcome, peer=evolve(outcome.peer, name=host, addr=host))

    def _with_query(self, url: str) -> str:
        if not self.query:
            return url
        return f"{url}{'&' if urlsplit(url).query else '?'}{self.query}"


class HookKind(ApiKind):
    """What the kinds of such services share."""

    unauthorized = REFUSALS

    def is_ours(self, options: Any) -> bool:
        """Whether the operator says where to post."""
        return options.webhook is not None

    def reaches_private(self, options: Any) -> bool:
        """The operator's URL may; those that messages name only when the policy says so."""
        return self.is_ours(options) or options.allow_private_addresses

    def built(self, protocol: Any, peer: Peer) -> ApiChannel:
        """One that waits for a host that a message named is in nobody's way. Raises ConfigError."""
        return evolve(super().built(protocol, peer), has_own_sites=not self.is_ours(protocol))


def _url(text: str) -> str:
    """A URL as it can be called. Raises ValueError, which quotes nothing."""
    try:
        if len(text) <= MAX_URL and urlsplit(text).port != 0:  # a port that is no number raises, too
            return clean_url(text)
    except ValueError:
        pass
    raise ValueError("the chat is no http or https URL")

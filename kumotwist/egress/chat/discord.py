"""Discord, by a channel's webhook.

https://discord.com/developers/docs/resources/webhook#execute-webhook

Public: `DiscordKind`, `DiscordOptions`, `Discord`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import frozen

from kumotwist.config.option import option, options
from kumotwist.core.json import JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.dialect import Call, Refused
from kumotwist.egress.api.jsonapi import id_in, json_of, json_request, text_of
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.retryafter import seconds_of
from kumotwist.egress.chat.hook import Hook, HookKind
from kumotwist.egress.chat.options import HookOptions
from kumotwist.egress.chat.post import Post, plan_posts
from kumotwist.net.http import HttpRequest, HttpResponse

#: Bit of `flags` that shows no previews of links.
_SUPPRESS_EMBEDS: Final = 4

RULES: Final = (
    Rule(Fault.ACCOUNT, code="10015", meaning="the webhook is gone"),
    Rule(Fault.ACCOUNT, code="50027", meaning="the webhook's token is wrong"),
    Rule(Fault.ACCOUNT, (404,), meaning="the webhook is gone"),
    Rule(Fault.PERMANENT, (400,), meaning="the post is wrong: empty, too long, blocked"),
)


@options
class DiscordOptions(HookOptions):
    """Posts to Discord."""

    channel: ClassVar[str] = "discord"

    username: str | None = option("The name to post under; none: the webhook's.", default=None)
    mentions: bool = option("Let the text call people, roles and everyone.", default=False)
    previews: bool = option("Show previews of links.", default=True)
    base_url: str = option("Where webhooks live.", default="https://discord.com/api/webhooks")


@frozen(eq=False)
class Discord:
    """Implements `egress.api.dialect.Dialect`."""

    options: DiscordOptions
    judge: Judge
    hook: Hook

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request for each recipient."""
        return plan_posts(batch, self.options, self.judge, "discord", self.hook.to, self._request)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """The URL is the credential."""
        return self.hook.authorize(request, secrets)

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """With `wait` the reply has the post's `id`; 204 is how Discord says yes without."""
        answer = json_of(reply)
        if 200 <= reply.code < 300:
            outcome = self.judge.delivered(reply, None if reply.code == 204 else id_in(answer, "id"))
            return [self.hook.told(outcome, call)] * len(call.targets)
        code, text, wait = (at(answer, name) for name in ("code", "message", "retry_after"))
        hint = seconds_of(wait, self.judge.now()) if isinstance(wait, (int, float)) else None
        named = str(code) if code else None
        return self.hook.refused(self.judge, reply, call, str(text or text_of(reply)), named, hint)

    def _request(self, post: Post) -> HttpRequest:
        chosen = self.options
        value: JsonObject = {"content": post.text}
        if chosen.username is not None:
            value["username"] = chosen.username
        if not chosen.mentions:
            value["allowed_mentions"] = {"parse": []}
        if not chosen.previews:
            value["flags"] = _SUPPRESS_EMBEDS
        return self.hook.request(post, json_request(chosen.base_url, value))


class DiscordKind(HookKind):
    """Makes Discord channels."""

    options = DiscordOptions

    def dialect(self, options: DiscordOptions, peer: Peer) -> Discord:
        """For one webhook, or for those that messages name."""
        return Discord(options, self.judge(peer, RULES, options), Hook(options, "wait=true"))

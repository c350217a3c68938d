"""Slack, by an incoming webhook or by a bot's chat.postMessage.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
https://docs.slack.dev/reference/methods/chat.postMessage

Public: `SlackKind`, `SlackOptions`, `SlackHook`, `SlackBot`. What can go wrong: ValueError
from options that choose both ways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.json import JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.core.receipt import METADATA_ID
from kumotwist.egress.api.dialect import Call, Dialect, Refused, Unreadable
from kumotwist.egress.api.jsonapi import json_of, json_request, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.chat.hook import Hook, HookKind
from kumotwist.egress.chat.options import HookOptions
from kumotwist.egress.chat.post import Post, chat_of, plan_posts
from kumotwist.net.http import HttpRequest, HttpResponse

#: An error's name, as opposed to a page.
_NAME: Final = re.compile(r"[a-z_]{1,64}\Z")
_HOOKS: Final = "https://hooks.slack.com/services"
_API: Final = "https://slack.com/api"

_BAD_TOKEN: Final = (
    *("invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope"),
    *("no_permission", "org_login_required", "ekm_access_denied", "team_access_not_granted", "access_denied"),
    *("invalid_token", "team_disabled", "no_team", "no_service", "no_active_hooks"),
)
_BAD_POST: Final = (
    *("msg_too_long", "no_text", "invalid_payload", "not_in_channel", "restricted_action", "cannot_dm_bot"),
    *("action_prohibited", "user_not_found", "channel_type_not_supported"),
)
_LATER: Final = ("internal_error", "fatal_error", "request_timeout", "service_unavailable", "rollup_error")

RULES: Final = (
    Rule(Fault.THROTTLED, code="ratelimited", meaning="too many posts"),
    Rule(Fault.THROTTLED, code="rate_limited", meaning="too many posts"),
    Rule(Fault.DEAD, code="channel_not_found", meaning="there is no such channel for us"),
    Rule(Fault.DEAD, code="channel_is_archived", meaning="the channel is archived"),
    Rule(Fault.DEAD, code="is_archived", meaning="the channel is archived"),
    *(Rule(Fault.ACCOUNT, code=code, meaning="the token or webhook, or what it may do") for code in _BAD_TOKEN),
    *(Rule(Fault.PERMANENT, code=code, meaning="this post cannot be made") for code in _BAD_POST),
    *(Rule(Fault.TRANSIENT, code=code, meaning="an error of its own") for code in _LATER),
    Rule(Fault.ACCOUNT, (404, 410), meaning="the webhook is gone"),
)
#: Errors that are known; under 200 nothing else is believed to be one.
_ERRORS: Final = frozenset(rule.code for rule in RULES if rule.code is not None)


@options
class SlackOptions(HookOptions):
    """Posts to Slack."""

    channel: ClassVar[str] = "slack"

    token: KeySource | None = option(
        "A bot's token, `xoxb-…`, to post with chat.postMessage; wants the scope chat:write.", default=None, secret=True
    )
    chat: str | None = option("With `token`: the channel to post to when the message names none.", default=None)
    previews: bool = option("Show previews of links.", default=True)
    base_url: str = option(f"Where its API is; none: `{_API}` with a token, else `{_HOOKS}`.", default="")

    def __attrs_post_init__(self) -> None:
        """Raises ValueError when both ways are chosen."""
        if self.token is not None and self.webhook is not None:
            raise ValueError("must have either 'token' or 'webhook'")

    @property
    def default_chat(self) -> str | None:
        """The option `chat`, for a bot."""
        return self.chat if self.token is not None else None


def _says_yes(text: str, answer: Any) -> bool:
    """Whether a 2xx to a webhook is a yes of those who are known to take Slack's posts.

    `ok`: Slack, Mattermost, Discord below `/slack`. `"ok": true`: triggers of Slack's workflows, Zulip since 10
    (https://github.com/zulip/zulip/pull/31875). `"result": "success"`: Zulip before. `"success": true`: Rocket.Chat.
    """
    named = at(answer, "ok") is True or at(answer, "success") is True or at(answer, "result") == "success"
    return named or text.lower() == "ok"


def _previews(options: SlackOptions) -> JsonObject:
    return {} if options.previews else {"unfurl_links": False, "unfurl_media": False}


@frozen(eq=False)
class SlackHook:
    """Implements `egress.api.dialect.Dialect` for incoming webhooks."""

    options: SlackOptions
    judge: Judge
    hook: Hook

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request for each recipient."""
        return plan_posts(batch, self.options, self.judge, "slack", self.hook.to, self._request)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """The URL is the credential."""
        return self.hook.authorize(request, secrets)

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """`ok`, or the error's name, both as plain text; those who speak as Slack does say yes in JSON, too."""
        text, answer = text_of(reply), json_of(reply)
        if 200 <= reply.code < 300:
            if _says_yes(text, answer):
                return [self.hook.told(self.judge.delivered(reply, None, text), call)] * len(call.targets)
            if at(answer, "ok") is False and isinstance(error := at(answer, "error"), str):
                return self.hook.refused(self.judge, reply, call, error, error)
            if text not in _ERRORS:
                raise Unreadable(f"{reply.code} without the `ok` of Slack")
        return self.hook.refused(self.judge, reply, call, text, text if _NAME.match(text) else None)

    def _request(self, post: Post) -> HttpRequest:
        return self.hook.request(
            post, json_request(self.options.base_url, {"text": post.text, **_previews(self.options)})
        )


@frozen(eq=False)
class SlackBot:
    """Implements `egress.api.dialect.Dialect` for chat.postMessage."""

    options: SlackOptions
    judge: Judge
    token: KeySource

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request for each recipient."""
        return plan_posts(batch, self.options, self.judge, "slack", chat_of(self.options), self._request)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """A bearer token."""
        return with_header(request, b"Authorization", f"Bearer {secrets['token']}")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """`ok` or `error` under HTTP 200; a post is named by channel and time."""
        answer = json_of(reply)
        error, stamp = at(answer, "error"), at(answer, "ts")
        if at(answer, "ok") is True:
            return [self.judge.delivered(reply, f"{at(answer, 'channel')}/{stamp}")] * len(call.targets)
        if 200 <= reply.code < 300 and not isinstance(error, str):
            raise Unreadable("neither ok nor an error in the reply")
        named = error if isinstance(error, str) else None
        return [self.judge.refused(reply, named or text_of(reply), named)] * len(call.targets)

    def _request(self, post: Post) -> HttpRequest:
        metadata: JsonObject = {"event_type": "message", "event_payload": {METADATA_ID: post.id}}
        value = {"channel": post.to, "text": post.text, "metadata": metadata, **_previews(self.options)}
        return json_request(f"{self.options.base_url}/chat.postMessage", value)


class SlackKind(HookKind):
    """Makes Slack channels."""

    options = SlackOptions

    def base_url(self, options: SlackOptions) -> str:
        """By which way it goes."""
        return options.base_url or (_HOOKS if options.token is None else _API)

    def is_ours(self, options: SlackOptions) -> bool:
        """A bot is, and so is a webhook of the operator's."""
        return options.token is not None or options.webhook is not None

    def dialect(self, options: SlackOptions, peer: Peer) -> Dialect:
        """For one bot or webhook, or for the webhooks that messages name."""
        judge = self.judge(peer, RULES, options)
        if options.token is None:
            return SlackHook(options, judge, Hook(options))
        return SlackBot(options, judge, options.token)

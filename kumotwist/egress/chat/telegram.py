"""Telegram, by the Bot API's sendMessage.

https://core.telegram.org/bots/api#sendmessage

Public: `TelegramKind`, `TelegramOptions`, `Telegram`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import evolve, frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.errors import SecretUnavailable
from kumotwist.core.json import JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.jsonapi import json_of, json_request, text_of
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.retryafter import seconds_of
from kumotwist.egress.chat.options import ChatOptions
from kumotwist.egress.chat.post import Post, chat_of, plan_posts
from kumotwist.net.http import HttpRequest, HttpResponse

RULES: Final = (
    Rule(Fault.DEAD, (400,), says="chat not found", meaning="there is no such chat"),
    Rule(Fault.DEAD, (400,), says="upgraded to a supergroup", meaning="the chat has another id now, which is told"),
    Rule(Fault.DEAD, (403,), says="blocked by the user", meaning="the user blocked the bot"),
    Rule(Fault.DEAD, (403,), says="was kicked", meaning="the bot was thrown out"),
    Rule(Fault.DEAD, (403,), says="user is deactivated", meaning="the account is gone"),
    Rule(Fault.PERMANENT, (403,), says="Forbidden:", meaning="the bot may not write there"),
    Rule(Fault.PERMANENT, (400,), meaning="the post is wrong"),
    Rule(Fault.ACCOUNT, (404,), meaning="the token is none"),
)
#: A wrong token is 401, one that is none 404; 403 is about the chat.
_REFUSALS: Final = frozenset((401, 404))
_TOKEN: Final = re.compile(r"[A-Za-z0-9:_-]+\Z")


@options
class TelegramOptions(ChatOptions):
    """Posts to Telegram."""

    channel: ClassVar[str] = "telegram"

    token: KeySource = option("The bot's token.", secret=True)
    chat: str | None = option("The chat to post to when nobody names one: an id, or `@channel`.", default=None)
    silent: bool = option("Let it arrive without a sound.", default=False)
    previews: bool = option("Show previews of links.", default=True)
    base_url: str = option("Where the Bot API is.", default="https://api.telegram.org")

    @property
    def default_chat(self) -> str | None:
        """The option `chat`."""
        return self.chat


@frozen(eq=False)
class Telegram:
    """Implements `egress.api.dialect.Dialect`."""

    options: TelegramOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request for each recipient."""
        return plan_posts(batch, self.options, self.judge, "telegram", chat_of(self.options), self._request)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """The token stands in the path. Raises SecretUnavailable."""
        token = secrets["token"]
        if not _TOKEN.match(token):
            raise SecretUnavailable("token is no bot's token", permanent=True)
        return evolve(request, url=f"{self.options.base_url}/bot{token}/sendMessage")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """The post is named by chat and number; an error says in `parameters` how long to wait."""
        answer = json_of(reply)
        number, chat = at(answer, "result", "message_id"), at(answer, "result", "chat", "id")
        if at(answer, "ok") is True:
            return [self.judge.delivered(reply, f"{chat}/{number}")] * len(call.targets)
        if 200 <= reply.code < 300:
            raise Unreadable("neither ok nor an error in the reply")
        text = str(at(answer, "description") or text_of(reply))
        wait = at(answer, "parameters", "retry_after")
        moved = at(answer, "parameters", "migrate_to_chat_id")
        hint = seconds_of(wait, self.judge.now()) if isinstance(wait, (int, float)) else None
        said = text if moved is None else f"{text}; now it is {moved}"
        return [self.judge.refused(reply, said, hint=hint)] * len(call.targets)

    def _request(self, post: Post) -> HttpRequest:
        value: JsonObject = {"chat_id": post.to, "text": post.text, "parse_mode": "MarkdownV2"}
        if self.options.silent:
            value["disable_notification"] = True
        if not self.options.previews:
            value["link_preview_options"] = {"is_disabled": True}
        return evolve(json_request(self.options.base_url, value), has_secret_path=True)


class TelegramKind(ApiKind):
    """Makes Telegram channels."""

    options = TelegramOptions
    unauthorized = _REFUSALS

    def dialect(self, options: TelegramOptions, peer: Peer) -> Telegram:
        """For one bot."""
        return Telegram(options, self.judge(peer, RULES, options))

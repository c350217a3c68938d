"""From a batch of messages to the posts that a chat service is asked to show, one request for each recipient.

Public: `Post`, `plan_posts`, `chat_of`. What cannot become a post is refused for good: no
chat to post to, no words, a message that cannot be taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from attrs import AttrsInstance, asdict, frozen

from kumotwist.config.translate import ChatTextOptions, Dialect
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.message import Message
from kumotwist.egress.api.dialect import Call, Refused, Target, targets_of
from kumotwist.egress.api.judge import Fault, Judge
from kumotwist.egress.api.parts import parts_of
from kumotwist.egress.chat.options import ChatOptions
from kumotwist.net.http import HttpRequest
from kumotwist.proto.translate.chat import as_chat
from kumotwist.proto.translate.whom import chat_for


@frozen
class Post:
    """A text in the service's markup. `id` is ours in hexadecimal; `to` is "" where the service needs none."""

    id: str
    to: str
    text: str


def plan_posts(
    batch: Sequence[Message],
    options: ChatOptions,
    judge: Judge,
    markup: Dialect,
    to: Callable[[Message, EnvelopeAddress], str],
    request: Callable[[Post], HttpRequest],
) -> list[Call | Refused]:
    """A call for each recipient, with its `Post` as note, or what is refused and why.

    `to` says where a recipient's post goes and raises ValueError when nobody says.
    """
    steps: list[Call | Refused] = []
    for message, targets in zip(batch, targets_of(batch), strict=True):
        text = _text(message, targets, options, judge, markup)
        if isinstance(text, Refused):
            steps.append(text)
            continue
        for target in targets:
            try:
                post = Post(message.id.hex(), to(message, message.recipients[target[1]]), text)
            except ValueError as error:
                steps.append(Refused((target,), judge.outcome(Fault.PERMANENT, f"nowhere to post: {error}")))
                continue
            steps.append(Call(request(post), (target,), note=post))
    return steps


def chat_of(options: ChatOptions) -> Callable[[Message, EnvelopeAddress], str]:
    """Where a recipient's post goes by these options, for `plan_posts`."""
    return lambda message, recipient: chat_for(message, recipient, options)


def _text(
    message: Message, targets: tuple[Target, ...], options: ChatOptions, judge: Judge, markup: Dialect
) -> str | Refused:
    parts = parts_of(message, targets, judge, for_reading=True)
    if isinstance(parts, Refused):
        return parts
    text = as_chat(parts, ChatTextOptions(dialect=markup, **asdict(cast("AttrsInstance", options.text))))
    return text or Refused(targets, judge.outcome(Fault.PERMANENT, "there is nothing to read in the message"))

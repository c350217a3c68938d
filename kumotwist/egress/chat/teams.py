"""Microsoft Teams, by the URL of a workflow: an adaptive card for each post.

https://support.microsoft.com/office/create-incoming-webhooks-with-workflows-for-microsoft-teams

A workflow answers 202 and nothing else; one that has a step for its answer says what its author chose, and its
run stands in a header. The connectors of old say `1`, the posts that were made, and put refusals under 200, too:
https://github.com/MicrosoftDocs/msteams-docs/issues/9064

Public: `TeamsKind`, `TeamsOptions`, `Teams`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import evolve, frozen

from kumotwist.config.option import option, options
from kumotwist.core.json import JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.jsonapi import json_of, json_request, text_of
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.chat.hook import Hook, HookKind
from kumotwist.egress.chat.options import HookOptions
from kumotwist.egress.chat.post import Post, plan_posts
from kumotwist.net.http import HttpRequest, HttpResponse

#: The header that names a workflow's run, and the status that a connector puts under 200.
_RUN: Final = "x-ms-workflow-run-id"
_BURIED: Final = re.compile(r"returned HTTP error ([45]\d\d)")

RULES: Final = (
    Rule(Fault.ACCOUNT, code="WorkflowNotFound", meaning="the workflow is gone"),
    Rule(Fault.ACCOUNT, code="WorkflowTriggerIsNotEnabled", meaning="the workflow is turned off"),
    Rule(Fault.ACCOUNT, (404, 410), meaning="the workflow is gone"),
    Rule(Fault.PERMANENT, (400, 413), meaning="the card is wrong or has more than 28 KB"),
)


@options
class TeamsOptions(HookOptions):
    """Posts to Microsoft Teams."""

    channel: ClassVar[str] = "teams"

    full_width: bool = option("Let the card take the whole width.", default=True)
    base_url: str = option("Where workflows live.", default="https://api.powerplatform.com")


@frozen(eq=False)
class Teams:
    """Implements `egress.api.dialect.Dialect`."""

    options: TeamsOptions
    judge: Judge
    hook: Hook

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request for each recipient."""
        return plan_posts(batch, self.options, self.judge, "teams", self.hook.to, self._request)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """The URL is the credential."""
        return self.hook.authorize(request, secrets)

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """202 says that the workflow has begun; its run is the only name there is."""
        text, run = text_of(reply), reply.header(_RUN)
        if 200 <= reply.code < 300:
            # A workflow that has run may well answer with what is in the card.
            buried = _BURIED.search(text) if run is None else None
            if buried is not None:
                return self.hook.refused(self.judge, evolve(reply, code=int(buried[1])), call, text)
            if reply.code != 202 and run is None and not text.isdecimal():
                raise Unreadable(f"{reply.code}, and neither a run of the workflow nor a number of posts")
            return [self.hook.told(self.judge.delivered(reply, run), call)] * len(call.targets)
        error = at(json_of(reply), "error")
        code, said = at(error, "code"), at(error, "message")
        named = code if isinstance(code, str) else None
        return self.hook.refused(self.judge, reply, call, str(said or text), named)

    def _request(self, post: Post) -> HttpRequest:
        card: JsonObject = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": [{"type": "TextBlock", "text": post.text, "wrap": True}],
        }
        if self.options.full_width:
            card["msteams"] = {"width": "Full"}
        attachment: JsonObject = {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": None,
            "content": card,
        }
        return self.hook.request(
            post, json_request(self.options.base_url, {"type": "message", "attachments": [attachment]})
        )


class TeamsKind(HookKind):
    """Makes Teams channels."""

    options = TeamsOptions

    def dialect(self, options: TeamsOptions, peer: Peer) -> Teams:
        """For one workflow, or for those that messages name."""
        return Teams(options, self.judge(peer, RULES, options), Hook(options))

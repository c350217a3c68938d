"""Several e-mails in one request, for providers that take a list and answer for each.

One e-mail a recipient, so that nobody sees the others and each has an outcome.
A provider may refuse the list as a whole for the sake of one e-mail in it: then
nobody knows whose fault it was, and all are tried again in smaller company until
the culprit is alone. Each attempt that a message has behind it divides the
company by four.

Public: `Email`, `emails_of`, `split`, `packed`, `refused_together`,
`with_one_reply_to`, `spelled`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from attrs import evolve, frozen

from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Verdict
from kumotwist.egress.api.dialect import Call, Refused, Target, targets_of
from kumotwist.egress.api.judge import Fault, Judge
from kumotwist.egress.api.parts import lost, parts_of
from kumotwist.net.http import HttpResponse
from kumotwist.proto.mime.addresses import Address
from kumotwist.proto.mime.losses import Loss, LossKind
from kumotwist.proto.mime.parts import Decomposed

#: Octets of JSON around the content of an e-mail. Ours: addresses and headers.
_AROUND: Final = 4_096
_PLAIN_NAME: Final = re.compile(r"[^\x00-\x1f\x7f()<>@,;:\\\".\[\]]+\Z")

#: From a message and its parts, what all its recipients share; and from that and a recipient, one e-mail.
Content: TypeAlias = Callable[[Message, Decomposed], JsonObject]
Addressed: TypeAlias = Callable[[Message, Decomposed, JsonObject, str], JsonObject]
Adapt: TypeAlias = Callable[[Decomposed], Decomposed]


def _as_they_are(parts: Decomposed) -> Decomposed:
    return parts


@frozen
class Email:
    """One e-mail to one recipient: `value` as the provider wants it, `size` at least the octets of its JSON."""

    target: Target
    value: JsonObject
    size: int
    attempts: int
    has_files: bool
    #: What the way costs it, for its record.
    lost: str


def emails_of(
    batch: Sequence[Message], judge: Judge, content: Content, addressed: Addressed, adapt: Adapt = _as_they_are
) -> Iterator[Email | Refused]:
    """The e-mails of a batch in order, and what cannot be sent in parts.

    `adapt` takes from the parts what the provider cannot say, and notes the loss.
    """
    for message, targets in zip(batch, targets_of(batch), strict=True):
        parts = parts_of(message, targets, judge)
        if isinstance(parts, Refused):
            yield parts
            continue
        parts = adapt(parts)
        shared, size = content(message, parts), _size(parts)
        has_files = bool(parts.attachments or parts.inline)
        for target in targets:
            value = addressed(message, parts, shared, message.recipients[target[1]].email)
            yield Email(target, value, size, message.attempts, has_files, lost(parts))


def split(made: Iterable[Email | Refused]) -> tuple[list[Call | Refused], list[Email]]:
    """What is refused already, as the first steps of a plan, and what is left to be sent."""
    steps: list[Call | Refused] = []
    emails: list[Email] = []
    for one in made:
        if isinstance(one, Refused):
            steps.append(one)
        else:
            emails.append(one)
    return steps, emails


def packed(emails: Sequence[Email], most: int, octets: int) -> list[tuple[Email, ...]]:
    """`emails` in groups of at most `most` and about `octets`, smaller ones where a member was tried before."""
    groups: list[list[Email]] = []
    room = size = 0
    for email in emails:
        limit = max(1, most >> min(2 * email.attempts, 30))
        room = min(room, limit)
        if not groups or len(groups[-1]) >= room or size + email.size > octets:
            groups.append([])
            room, size = limit, 0
        groups[-1].append(email)
        size += email.size
    return [tuple(group) for group in groups]


def refused_together(judge: Judge, reply: HttpResponse, count: int, text: str, code: str | None = None) -> Outcome:
    """What a refusal of a whole request means for each of its `count` e-mails."""
    outcome = judge.refused(reply, text, code)
    if outcome.verdict is not Verdict.PERMANENT or count == 1:
        return outcome
    said = outcome.response.content
    return judge.outcome(Fault.TRANSIENT, f"refused as one of {count}, to be tried with fewer: {said}")


def with_one_reply_to(parts: Decomposed) -> Decomposed:
    """For providers that take a single Reply-To: the first, and the loss of the others."""
    if len(parts.reply_to) < 2:
        return parts
    loss = Loss(LossKind.ADDRESS, "reply-to")
    return evolve(parts, reply_to=parts.reply_to[:1], losses=(*parts.losses, loss))


def spelled(address: Address) -> str:
    """`Name <user@domain>` in Unicode, the name in quotes where it needs them (RFC 5322 s3.4)."""
    if not address.name:
        return address.email
    if _PLAIN_NAME.match(address.name):
        return f"{address.name} <{address.email}>"
    escaped = address.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{address.email}>'


def _size(parts: Decomposed) -> int:
    files = sum(len(one.data) for one in (*parts.attachments, *parts.inline))
    # JSON writes a control or a quote in up to six octets; mail has few of them. Base64 is four octets for three.
    return _AROUND + len(parts.text.encode()) * 5 // 4 + len(parts.html.encode()) * 5 // 4 + files * 4 // 3

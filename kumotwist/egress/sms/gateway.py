"""From a batch of messages to the texts that a gateway is asked to send, one request for each.

One recipient a request: gateways that take many answer for all of them
together, and then nobody knows which number was refused.

Public: `Text`, `plan_texts`, `taken`, `refused`, `digits`. What cannot become a text is
refused for good: no number, no words, a message that cannot be taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import inf
from typing import Final
from urllib.parse import quote, urlsplit

from attrs import frozen

from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome
from kumotwist.core.receipt import METADATA_ID, printable
from kumotwist.egress.api.dialect import Call, Refused, Target, targets_of
from kumotwist.egress.api.judge import Fault, Judge
from kumotwist.egress.api.parts import parts_of
from kumotwist.egress.sms.content import as_sender, sender_of
from kumotwist.egress.sms.options import SmsOptions
from kumotwist.net.http import HttpRequest, HttpResponse
from kumotwist.proto.sms.coding import Coding
from kumotwist.proto.sms.segments import Sms, compose
from kumotwist.proto.translate.sms import words
from kumotwist.proto.translate.whom import number_for

#: Characters of a sender, as the send API takes them; the longest that a gateway knows are ids of some 40.
MAX_SENDER: Final = 64
_NO_SENDER: Final = "neither the message nor the option 'sender' says who it is from"


@frozen
class Text:
    """One text to one number. `id` is ours in hexadecimal, `to` in E.164 with its `+`.

    `is_own_sender`: the message chose its sender, not the operator. `left` is in seconds, until
    the queue gives the message up; infinity when it never does.
    """

    id: str
    to: str
    sender: str | None
    sms: Sms
    is_own_sender: bool = False
    left: float = inf

    @property
    def words(self) -> str:
        """What it says."""
        return self.sms.text

    @property
    def is_unicode(self) -> bool:
        """Whether it has characters outside the GSM alphabet."""
        return self.sms.coding is Coding.UCS2

    def validity(self, limit: float | None, least: int, most: int, unit: int = 1) -> int | None:
        """How long the gateway may try, in units of `unit` seconds; None for as long as it does by itself.

        No longer than `limit` seconds nor than we would, within `least` and `most` units, which the gateway takes.
        """
        left = self.left if limit is None else min(limit, self.left)
        if limit is None and left > most * unit:
            return None
        return min(max(int(left // unit), least), most)

    def callback(self, url: str | None) -> str | None:
        """The URL for reports with our id in its query, for gateways that keep no metadata."""
        if url is None:
            return None
        return f"{url}{'&' if urlsplit(url).query else '?'}{METADATA_ID}={quote(self.id)}"


def plan_texts(
    batch: Sequence[Message],
    options: SmsOptions,
    judge: Judge,
    request: Callable[[Text], HttpRequest],
    now: float,
    needs_sender: bool = False,
) -> list[Call | Refused]:
    """A call for each recipient, with its `Text` as note, or what is refused and why.

    `now` is in Unix seconds. Where the gateway wants a sender (`needs_sender`) and there is none,
    messages wait until the operator names one.
    """
    steps: list[Call | Refused] = []
    for message, targets in zip(batch, targets_of(batch), strict=True):
        sms = _sms(message, targets, options, judge)
        if isinstance(sms, Refused):
            steps.append(sms)
            continue
        own = sender_of(message, options)
        if needs_sender and not (own or options.sender):
            steps.append(Refused(targets, judge.outcome(Fault.TRANSIENT, _NO_SENDER)))
            continue
        for target in targets:
            try:
                number = number_for(message, message.recipients[target[1]], options)
            except ValueError as error:
                steps.append(Refused((target,), judge.outcome(Fault.PERMANENT, f"no number to send to: {error}")))
                continue
            text = Text(
                message.id.hex(), number, _sender(own or options.sender), sms, own is not None, message.expires - now
            )
            steps.append(Call(request(text), (target,), note=text))
    return steps


def _sms(message: Message, targets: tuple[Target, ...], options: SmsOptions, judge: Judge) -> Sms | Refused:
    parts = parts_of(message, targets, judge, for_reading=True)
    if isinstance(parts, Refused):
        return parts
    said = words(parts, options.text)
    if not said:
        return Refused(targets, judge.outcome(Fault.PERMANENT, "there is nothing to read in the message"))
    return compose(said, max_segments=options.max_segments, transliterate_to_gsm=options.transliterate)


def _sender(name: str | None) -> str | None:
    """What may stand in a header or a query, whoever wrote it."""
    return None if name is None else printable(as_sender(name), MAX_SENDER)


def taken(
    judge: Judge, reply: HttpResponse, call: Call, remote_id: str | None, parts: object = None, words: str = ""
) -> list[Outcome]:
    """The outcome of a text that was taken; `parts` as the provider counts them, else as we do; `words` are its own."""
    sms = call.note.sms if isinstance(call.note, Text) else None
    count = int(parts) if isinstance(parts, (int, str)) and str(parts).isdecimal() else 0
    note = f"cut to {sms.segments} segments" if sms is not None and sms.is_cut else ""
    said = "; ".join(one for one in (words or remote_id or "", note) if one)
    outcome = judge.delivered(reply, remote_id, said, count or (sms.segments if sms is not None else 1))
    return [outcome] * len(call.targets)


def refused(
    judge: Judge,
    reply: HttpResponse,
    call: Call,
    text: str,
    code: object = None,
    *,
    senders: Collection[str] = (),
    otherwise: Fault | None = None,
) -> list[Outcome]:
    """The outcome of a text that was not taken. `code` is the provider's own, a number or a text.

    `senders` are codes that speak of the sender: one that the operator chose is a fault of
    the account, one that the message brought along bounces that message and holds up no other.
    """
    named = None if code is None else str(code)
    outcome = judge.refused(reply, text, named, otherwise=otherwise)
    if named in senders and isinstance(call.note, Text) and call.note.is_own_sender:
        outcome = judge.outcome(Fault.PERMANENT, outcome.response.content)
    return [outcome] * len(call.targets)


def digits(number: str) -> str:
    """A number without its `+` and separators; a sender's name as it is."""
    bare = as_sender(number).removeprefix("+")
    return bare if bare.isdecimal() else number

"""What happens between the dot and the 250: policy, batches, trace headers, admission.

One coroutine per transaction. The order is KumoMTA's: smtp_server_data on the
whole, split, then per batch an id, the Received header and
smtp_server_message_received; when all batches have passed, the relay check,
the supplemental header, one save for all, records and the queue.

Public: `Transaction`, `Stage`. What can go wrong: `Rejection` (policy said
no, for the whole transaction), `PolicyError`, and what `Admission` raises.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import define, field

from kumotwist.config.listener import BatchHandling, SmtpListenerConfig
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.connection import ConnectionMeta
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.ids import IdGenerator, SpoolId
from kumotwist.core.interfaces import SmtpPolicy
from kumotwist.core.message import Message
from kumotwist.core.outcome import Peer
from kumotwist.intake.admission import NULL_QUEUE, Admission, Report
from kumotwist.intake.smtp.relay import Fate, Relay
from kumotwist.proto.mime import trace
from kumotwist.proto.smtp.client_body import needs_stuffing
from kumotwist.proto.smtp.events import EndOfData

_NO_REPORTS: Final[Mapping[SpoolId, Report]] = {}


class Stage(enum.Enum):
    """How far a transaction is; the value is what a reply about the deadline says."""

    POLICY = "policy"
    RESOLVE = "resolve"
    SPOOL = "spool"
    INSERT = "insert"


@define(eq=False)
class Transaction:
    """One transaction of a session, from the whole body to its reply."""

    policy: SmtpPolicy
    admission: Admission
    ids: IdGenerator
    config: SmtpListenerConfig
    conn: ConnectionMeta
    relay: Relay
    reception: trace.Reception
    peer: Peer
    session_id: str
    now: float
    stage: Stage = field(default=Stage.POLICY, init=False)
    _messages: Sequence[Message] = field(default=(), init=False)

    async def run(self, event: EndOfData) -> tuple[int, str]:
        """The reply. Until `stage` is INSERT it may be cancelled, and nothing stays behind."""
        message = Message(
            self.ids(),
            event.sender,
            event.recipients,
            dict(self.conn.meta),
            event.body,
            self.now,
            has_dots=event.has_dots,
        )
        self._messages = (message,)
        try:
            return await self._through_policy(message)
        except BaseException:
            if self.stage is not Stage.INSERT:
                for one in self._messages:
                    one.release_body()
            raise

    async def _through_policy(self, message: Message) -> tuple[int, str]:
        policy = self.policy
        if policy.handles("smtp_server_data"):
            await policy.smtp_server_data(message, self.conn)
        messages: Sequence[Message] = (message,)
        if len(message.recipients) != 1 or policy.handles("smtp_server_split_transaction"):
            self._messages = messages = await self._batches(message)
        wants_received = self.config.trace_headers.received_header
        if policy.handles("smtp_server_message_received"):
            for one in messages:
                if wants_received:
                    self._prepend(one, self._received(one))
                await policy.smtp_server_message_received(one, self.conn)
            messages = [one for one in messages if one.recipients]
            wants_received = False
        return await self._admit(messages, wants_received)

    def accepted(self) -> tuple[int, str]:
        """The reply when all is on disk and queueing takes its time."""
        return _accepted(self._messages, self._messages)

    async def _admit(self, messages: Sequence[Message], wants_received: bool) -> tuple[int, str]:
        kept: Sequence[Message] = messages
        recorded: Sequence[Message] = ()
        reports: Mapping[SpoolId, Report] = _NO_REPORTS
        if not self.relay.needs_no_policy:
            kept, recorded, reports = await self._relayed(messages)
        self.stage = Stage.RESOLVE
        names = await self.admission.resolve(kept)
        if recorded:
            names, messages = [*names, *[NULL_QUEUE] * len(recorded)], [*kept, *recorded]
        self._messages = messages
        wants_supplemental = self.config.trace_headers.supplemental_header
        if wants_received or wants_supplemental:
            # Both in one go, since each copies the body.
            for one in kept:
                above = self._supplemental(one) if wants_supplemental else b""
                self._prepend(one, above + self._received(one) if wants_received else above)
        self.stage = Stage.SPOOL
        await self.admission.save(messages, names)
        self.stage = Stage.INSERT
        entered = await self.admission.enter(messages, names, self.peer, self.session_id, reports)
        return _accepted(messages, entered)

    async def _relayed(
        self, messages: Sequence[Message]
    ) -> tuple[Sequence[Message], Sequence[Message], Mapping[SpoolId, Report]]:
        """The messages to queue, those to record only, and the reports in them. Raises Rejection without any."""
        judged = [(one, *await self.relay.judge(one)) for one in messages]
        kept = [one for one, fate, _ in judged if fate is Fate.RELAY]
        recorded = [one for one, fate, _ in judged if fate is Fate.RECORD]
        if not kept and not recorded:
            raise Rejection(550, "5.7.1 relaying not permitted")
        return kept, recorded, {one.id: report for one, _, report in judged if report is not None}

    async def _batches(self, message: Message) -> Sequence[Message]:
        """One message per group of recipients; a single group goes on in `message` itself."""
        groups: Sequence[Sequence[EnvelopeAddress]] | None = None
        if self.policy.handles("smtp_server_split_transaction"):
            groups = await self.policy.smtp_server_split_transaction(message, self.conn)
        if groups is None:
            if len(message.recipients) == 1:
                return (message,)
            groups = split(message.recipients, self.config.batch_handling)
        groups = [group for group in groups if group]
        if not groups:
            raise PolicyError("policy left the transaction without recipients")
        if len(groups) > 1 and len(groups) * message.size > self.admission.max_unsaved:
            raise Rejection(552, "5.3.4 message too big for so many recipients")
        if len(groups) == 1:
            message.set_recipients(tuple(groups[0]))
            return (message,)
        return [self._part(message, group) for group in groups]

    def _part(self, whole: Message, recipients: Sequence[EnvelopeAddress]) -> Message:
        meta, due, schedule = dict(whole.meta), whole.due, whole.schedule
        return Message(
            self.ids(), whole.sender, tuple(recipients), meta, whole.body, due, 0, schedule, has_dots=whole.has_dots
        )

    def _received(self, message: Message) -> bytes:
        return trace.received(self.reception, message.id.hex(), message.recipients[0].email, self.now)

    def _supplemental(self, message: Message) -> bytes:
        recipients = [recipient.email for recipient in message.recipients]
        return trace.supplemental(self.config.trace_headers, recipients, message.meta)

    def _prepend(self, message: Message, headers: bytes) -> None:
        message.body = headers + (message.body or b"")
        message.has_dots = message.has_dots or needs_stuffing(headers)


def split(recipients: Sequence[EnvelopeAddress], handling: BatchHandling) -> Sequence[Sequence[EnvelopeAddress]]:
    """Recipients in groups: each alone, or by domain without regard to case, in order of appearance."""
    if handling == "BifurcateAlways":
        return [(recipient,) for recipient in recipients]
    groups: dict[str, list[EnvelopeAddress]] = {}
    for recipient in recipients:
        groups.setdefault(recipient.domain.lower(), []).append(recipient)
    return list(groups.values())


def _accepted(messages: Sequence[Message], entered: Sequence[Message]) -> tuple[int, str]:
    ids = " ".join([message.id.hex() for message in entered])
    return 250, f"OK {'' if len(entered) == len(messages) else 'PARTIAL '}ids={ids}"

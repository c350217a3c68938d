"""Text messages as a way in: what subscribers write to our numbers, given to policy.

The event `sms_received` gets each text as a message: sender and recipient are
`+15551234567@sms`, the body is plain text, meta `sms` has the rest. A handler
makes what it likes of it and calls `kumo.inject_message`, or does something
else altogether. Each text makes one record: Reception, or Rejection when the
handler refuses it or there is none.

Public: `SmsIntake`, which implements `core.interfaces.SmsReceiver`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from attrs import define
from twisted.internet.defer import CancelledError

from kumotwist.core.address import MAX_LOCAL_PART, EnvelopeAddress
from kumotwist.core.errors import Overload, PolicyError, Rejection
from kumotwist.core.ids import IdGenerator
from kumotwist.core.interfaces import Gatekeeper, Recorder, SmsPolicy
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.outcome import Peer
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import Response, internal
from kumotwist.core.sms import IncomingSms
from kumotwist.intake.admission import NULL_QUEUE
from kumotwist.net.clock import Clock
from kumotwist.proto.mime import builder
from kumotwist.proto.phone import DOMAIN

_EVENT: Final = "sms_received"
#: What cannot stand in a local part as it is: a sender may be a name.
_NOT_ATEXT: Final = re.compile(r"[^A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+")
_RECEIVED: Final = Response(250, "")


@define(eq=False)
class SmsIntake:
    """Gives each text to policy. `gate` is asked for when one comes."""

    policy: SmsPolicy
    recorder: Recorder
    gate: Callable[[], Gatekeeper]
    ids: IdGenerator
    clock: Clock

    async def receive(self, sms: IncomingSms) -> None:
        """Run the handler, and return when it has. Raises Rejection, Overload, PolicyError."""
        busy = self.gate().refusal()
        if busy is not None:
            raise Overload(busy)
        message = self._message(sms)
        try:
            if not self.policy.handles(_EVENT):
                raise Rejection(550, f"the policy has no handler for {_EVENT}")
            await self.policy.sms_received(message)
        except CancelledError:
            raise
        except Rejection as refusal:
            await self._record(RecordType.REJECTION, message, sms, Response(refusal.code, refusal.text))
            raise
        except PolicyError as error:
            await self._record(RecordType.REJECTION, message, sms, internal(451, f"{_EVENT} failed: {error}"))
            raise
        await self._record(RecordType.RECEPTION, message, sms, _RECEIVED)

    def _message(self, sms: IncomingSms) -> Message:
        sender, recipient = _address(sms.sender), _address(sms.recipient)
        now = self.clock.seconds()
        facts: JsonObject = {
            "channel": sms.channel,
            "account": sms.account,
            "from": sms.sender,
            "to": sms.recipient,
            "parts": sms.parts,
            "missing": sms.missing,
            "data_coding": sms.data_coding,
            "hex": sms.octets.hex(),
            "tlvs": sms.tlvs,
        }
        meta: JsonObject = {"sms": facts, "reception_protocol": sms.channel.upper()}
        spool_id = self.ids()
        headers = (
            f"From: <{sender.email}>\r\nTo: <{recipient.email}>\r\nDate: {formatdate(now)}\r\n"
            f"Message-ID: <{spool_id.hex()}@{DOMAIN}>\r\n"
        )
        body = builder.message([headers.encode()], builder.text_part(sms.text, "plain"))
        return Message(spool_id, sender, (recipient,), meta, body, now)

    async def _record(self, kind: RecordType, message: Message, sms: IncomingSms, response: Response) -> None:
        """One record for each text; the message may have been changed, or be on its way already."""
        await self.recorder.record(
            Record(
                type=kind,
                event_time=self.clock.seconds(),
                response=response,
                message=message if kind is RecordType.RECEPTION else None,
                sender=message.sender.email,
                recipients=tuple([one.email for one in message.recipients]),
                queue=_queue_of(message) if message.is_spooled else NULL_QUEUE,
                size=message.size,
                peer=Peer(sms.account, "", sms.channel.upper(), channel=sms.channel, account=sms.account),
                reception_protocol=sms.channel.upper(),
                meta=dict(message.meta),
            )
        )


def _address(shown: str) -> EnvelopeAddress:
    """A number or a name as the local part of an address."""
    return EnvelopeAddress(_NOT_ATEXT.sub("_", shown)[:MAX_LOCAL_PART] or "unknown", DOMAIN)


def _queue_of(message: Message) -> str:
    try:
        return message.queue_name()
    except ValueError:
        return ""

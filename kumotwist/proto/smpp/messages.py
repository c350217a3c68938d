"""Bodies of the PDUs that carry messages: submit_sm, deliver_sm, data_sm and their responses.

submit_sm and deliver_sm have the same fields (SMPP 3.4 s4.4.1, s4.6.1); data_sm
has fewer, and its text in message_payload (s4.7.1).

Public: `Address`, `ShortMessage`, `Answered`, `encode_short_message`,
`decode_short_message`, `decode_answer`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from attrs import frozen

from kumotwist.core.errors import LocalProtocolError
from kumotwist.proto.smpp.commands import Command, Tag
from kumotwist.proto.smpp.fields import Fields, Tlv, cstring, write_tlvs

#: Limits of C-octet strings, their NUL included (SMPP 3.4 s4.4.1, s5.2).
SERVICE_TYPE: Final = 6
ADDRESS: Final = 21
TIME: Final = 17
#: Octets of short_message: more is for message_payload (s4.4.1).
MAX_SHORT_MESSAGE: Final = 254
#: Octets of a text that we take although its field is shorter by the book: some SMSCs name their messages
#: at length. Ours.
_LENIENT: Final = 256


class Address(NamedTuple):
    """An SME address with its type of number and numbering plan (s5.2.5, s5.2.6)."""

    digits: str
    ton: int = 0
    npi: int = 0


NO_ADDRESS: Final = Address("")


@frozen(kw_only=True)
class ShortMessage:
    """What submit_sm and deliver_sm say; octets of the text as `data_coding` has them."""

    source: Address = NO_ADDRESS
    destination: Address = NO_ADDRESS
    short_message: bytes = b""
    data_coding: int = 0
    esm_class: int = 0
    protocol_id: int = 0
    priority: int = 0
    registered_delivery: int = 0
    replace_if_present: int = 0
    sm_default_msg_id: int = 0
    service_type: str = ""
    schedule_delivery_time: str = ""
    validity_period: str = ""
    tlvs: tuple[Tlv, ...] = ()

    def tlv(self, tag: Tag) -> bytes | None:
        """The value of the first optional parameter with that tag."""
        return next((one.value for one in self.tlvs if one.tag == tag), None)

    @property
    def text(self) -> bytes:
        """The octets of the text, whichever field they came in."""
        payload = self.tlv(Tag.MESSAGE_PAYLOAD) if self.tlvs else None
        return self.short_message or payload or b""


@frozen
class Answered:
    """What a response to submit_sm says: "" for no id."""

    message_id: str
    tlvs: tuple[Tlv, ...] = ()


def encode_short_message(message: ShortMessage) -> bytes:
    """The body of submit_sm or deliver_sm. Raises LocalProtocolError when something does not fit."""
    text = message.short_message
    if len(text) > MAX_SHORT_MESSAGE:
        raise LocalProtocolError(f"short_message is longer than {MAX_SHORT_MESSAGE} octets")
    source, destination = message.source, message.destination
    return b"".join(
        (
            cstring(message.service_type, SERVICE_TYPE, "service_type"),
            bytes((source.ton, source.npi)),
            cstring(source.digits, ADDRESS, "source_addr"),
            bytes((destination.ton, destination.npi)),
            cstring(destination.digits, ADDRESS, "destination_addr"),
            bytes((message.esm_class, message.protocol_id, message.priority)),
            cstring(message.schedule_delivery_time, TIME, "schedule_delivery_time"),
            cstring(message.validity_period, TIME, "validity_period"),
            bytes(
                (
                    message.registered_delivery,
                    message.replace_if_present,
                    message.data_coding,
                    message.sm_default_msg_id,
                    len(text),
                )
            ),
            text,
            write_tlvs(message.tlvs),
        )
    )


def decode_short_message(command: Command, body: bytes) -> ShortMessage:
    """What a submit_sm, deliver_sm or data_sm says. Raises Malformed."""
    fields = Fields(body)
    if command is Command.DATA_SM:
        return _data_sm(fields)
    # In this order: arguments are evaluated as written.
    return ShortMessage(
        service_type=fields.cstring(_LENIENT),
        source=_address(fields),
        destination=_address(fields),
        esm_class=fields.byte(),
        protocol_id=fields.byte(),
        priority=fields.byte(),
        schedule_delivery_time=fields.cstring(_LENIENT),
        validity_period=fields.cstring(_LENIENT),
        registered_delivery=fields.byte(),
        replace_if_present=fields.byte(),
        data_coding=fields.byte(),
        sm_default_msg_id=fields.byte(),
        short_message=fields.octets(fields.byte()),
        tlvs=fields.tlvs(),
    )


def _data_sm(fields: Fields) -> ShortMessage:
    return ShortMessage(
        service_type=fields.cstring(_LENIENT),
        source=_address(fields),
        destination=_address(fields),
        esm_class=fields.byte(),
        registered_delivery=fields.byte(),
        data_coding=fields.byte(),
        tlvs=fields.tlvs(),
    )


def _address(fields: Fields) -> Address:
    ton, npi = fields.byte(), fields.byte()
    return Address(fields.cstring(_LENIENT), ton, npi)


def decode_answer(body: bytes) -> Answered:
    """What a response to submit_sm says; with an error there may be no body (s4.4.2). Raises Malformed."""
    if not body:
        return Answered("")
    if b"\0" not in body:
        # Left without its end by more than one SMSC; the PDU's end will do.
        body += b"\0"
    fields = Fields(body)
    return Answered(fields.cstring(_LENIENT), fields.tlvs())

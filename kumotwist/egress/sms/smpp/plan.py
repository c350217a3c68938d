"""From a message to what is submitted: for each recipient the parts of its text, or why there are none.

Pure: reads the message, changes nothing. Number and sender are found as for all
channels of text messages (`egress.sms.content`).

Public: `Planner`, `Unit`, `Unfit`. What cannot be sent is an `Unfit` with the
reason, for a permanent failure of that recipient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Final

from attrs import evolve, frozen

from kumotwist.core.errors import LocalProtocolError
from kumotwist.core.message import Message
from kumotwist.egress.sms.content import as_sender, sender_of
from kumotwist.egress.sms.smpp.content import words_of
from kumotwist.egress.sms.smpp.options import SmppProtocol
from kumotwist.proto.smpp import addressing
from kumotwist.proto.smpp.commands import HAS_UDH, Tag, tag_number
from kumotwist.proto.smpp.fields import Tlv
from kumotwist.proto.smpp.messages import Address, ShortMessage, encode_short_message
from kumotwist.proto.sms import udh
from kumotwist.proto.sms.coding import Coding, encode
from kumotwist.proto.sms.segments import Sms, compose
from kumotwist.proto.sms.udh import Concatenation
from kumotwist.proto.translate.whom import number_for

#: data_coding (SMPP 3.4 s5.2.19): the SMSC's default, Latin-1, UCS-2.
_DATA_CODING: Final = {Coding.GSM: 0x00, Coding.GSM_AS_LATIN1: 0x00, Coding.LATIN1: 0x03, Coding.UCS2: 0x08}
#: Message class 0 (3GPP TS 23.038 s4): the same alphabets for immediate display.
_FLASH_CODING: Final = {Coding.GSM: 0x10, Coding.GSM_AS_LATIN1: 0x10, Coding.LATIN1: 0x14, Coding.UCS2: 0x18}
#: registered_delivery (s5.2.17), and its bit for intermediate notifications.
_REGISTERED: Final = {"Never": 0, "Always": 1, "OnFailure": 2}
_INTERMEDIATE: Final = 0x10
#: E.164 s6.2.1: up to 15 digits, and no country code begins with 0.


@frozen
class Unit:
    """A text for one recipient: the bodies of its submit_sm, in order."""

    parts: tuple[bytes, ...]


@frozen
class Unfit:
    """Why a recipient cannot be sent to."""

    reason: str


class Planner:
    """Makes units by the options of one channel. `reference` gives the number that ties parts together."""

    def __init__(self, options: SmppProtocol, reference: Callable[[], int]) -> None:
        self._options = options
        self._reference = reference
        first = Coding.GSM if options.default_alphabet == "Gsm" else Coding.GSM_AS_LATIN1
        latin1 = (Coding.LATIN1,) if options.allow_latin1 else ()
        self._codings = (first, *latin1, Coding.UCS2)
        self._data_codings = _FLASH_CODING if options.flash else _DATA_CODING
        registered = _REGISTERED[options.registered_delivery] if options.bind != "Transmitter" else 0
        self._meta_tlvs = {tag_number(tag): key for tag, key in options.meta_tlvs.items()}
        self._form = ShortMessage(
            tlvs=tuple(Tlv(tag_number(tag), value.encode()) for tag, value in options.tlvs.items()),
            priority=options.priority,
            registered_delivery=registered | (_INTERMEDIATE if registered and options.intermediate_receipts else 0),
            service_type=options.service_type,
        )

    def plan(self, message: Message, now: float) -> Sequence[Unit | Unfit]:
        """One for each recipient, by position."""
        options = self._options
        sms = self._composed(message.body or b"")
        if isinstance(sms, Unfit):
            return [sms] * len(message.recipients)
        source = self._source(message)
        if isinstance(source, Unfit):
            return [source] * len(message.recipients)
        form = evolve(
            self._form,
            source=source,
            validity_period=self._validity(message, now) if options.validity else "",
            tlvs=(*self._form.tlvs, *self._own_tlvs(message)),
        )
        return [self._unit(message, position, form, sms) for position in range(len(message.recipients))]

    # -- the text -----------------------------------------------------------------------------------

    def _composed(self, body: bytes) -> Sms | Unfit:
        options = self._options
        try:
            text = words_of(body, options.text)
        except ValueError as problem:
            return Unfit(str(problem))
        if not text:
            return Unfit("there is nothing to read in the message")
        limit = options.max_segments
        sms = compose(
            text,
            codings=self._codings,
            transliterate_to_gsm=options.transliterate,
            max_segments=limit,
            wide_reference=options.long_message == "Udh16",
        )
        if sms.is_cut and not options.cut:
            return Unfit(f"its text takes more than {limit} parts")
        return sms

    def _unit(self, message: Message, position: int, form: ShortMessage, sms: Sms) -> Unit | Unfit:
        try:
            destination = self._destination(message, position)
            parts = self._parts(evolve(form, destination=destination), sms)
            return Unit(tuple([encode_short_message(part) for part in parts]))
        except (ValueError, LocalProtocolError) as problem:
            return Unfit(str(problem))

    def _parts(self, form: ShortMessage, sms: Sms) -> Sequence[ShortMessage]:
        data_coding = self._data_codings[sms.coding]
        mode = self._options.long_message
        if sms.segments == 1:
            return (evolve(form, short_message=encode(sms.text, sms.coding), data_coding=data_coding),)
        if mode == "Payload":
            return (_payload(form, encode(sms.text, sms.coding), data_coding),)
        reference = self._reference() & (0xFFFF if mode == "Udh16" else 0xFF)
        found = []
        for number, part in enumerate(sms.parts, 1):
            octets, place = encode(part, sms.coding), Concatenation(reference, sms.segments, number)
            if mode == "Sar":
                tlvs = (*form.tlvs, *_sar(place))
                found.append(evolve(form, short_message=octets, data_coding=data_coding, tlvs=tlvs))
            else:
                octets = udh.header(place, mode == "Udh16") + octets
                found.append(evolve(form, short_message=octets, data_coding=data_coding, esm_class=HAS_UDH))
        return found

    # -- whom and from ------------------------------------------------------------------------------

    def _destination(self, message: Message, position: int) -> Address:
        """Raises ValueError when there is no number, or none that can be dialled."""
        options, recipient = self._options, message.recipients[position]
        # Whether there are such numbers is the SMSC's to say.
        number = number_for(message, recipient, options, is_checked=False)
        return _with(addressing.guess(number), options.dest_ton, options.dest_npi)

    def _source(self, message: Message) -> Address | Unfit:
        options = self._options
        guessed = addressing.guess(as_sender(sender_of(message, options) or options.sender))
        try:
            encode_short_message(ShortMessage(source=guessed))
        except LocalProtocolError as problem:
            return Unfit(str(problem))
        return _with(guessed, options.source_ton, options.source_npi)

    def _own_tlvs(self, message: Message) -> Iterator[Tlv]:
        for tag, key in self._meta_tlvs.items():
            value = message.meta.get(key)
            if isinstance(value, (str, int)):
                yield Tlv(tag, str(value).encode())

    def _validity(self, message: Message, now: float) -> str:
        left = message.expires - now
        if left == inf:
            return ""
        if self._options.max_validity is not None:
            left = min(left, self._options.max_validity)
        return addressing.validity(left)


def _with(address: Address, ton: int | None, npi: int | None) -> Address:
    if ton is None and npi is None:
        return address
    return Address(address.digits, address.ton if ton is None else ton, address.npi if npi is None else npi)


def _sar(place: Concatenation) -> tuple[Tlv, ...]:
    return (
        Tlv(Tag.SAR_MSG_REF_NUM, place.reference.to_bytes(2, "big")),
        Tlv(Tag.SAR_TOTAL_SEGMENTS, bytes((place.total,))),
        Tlv(Tag.SAR_SEGMENT_SEQNUM, bytes((place.sequence,))),
    )


def _payload(form: ShortMessage, octets: bytes, data_coding: int) -> ShortMessage:
    return evolve(form, data_coding=data_coding, tlvs=(*form.tlvs, Tlv(Tag.MESSAGE_PAYLOAD, octets)))

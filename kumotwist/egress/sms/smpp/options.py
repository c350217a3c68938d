"""The options of the SMPP channel: `protocol = { smpp = { ... } }` and `kumo.start_smpp_receiver`.

Public: `SmppProtocol`, and what some of its options may say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal, TypeAlias

from attrs import Attribute

from kumotwist.config.bounds import between, octets, positive
from kumotwist.config.keysource import KeySource
from kumotwist.config.option import Duration, option, options
from kumotwist.config.queue import OnUnknown
from kumotwist.config.table import Table
from kumotwist.config.translate import SmsWordsOptions
from kumotwist.core.units import Throttle
from kumotwist.egress.sms.options import check_region
from kumotwist.proto.smpp.commands import status_number, tag_number
from kumotwist.proto.sms.segments import MAX_SEGMENTS
from kumotwist.proto.translate.whom import AddressedBy

#: Ours: SMSCs grant some ten to a few hundred.
MAX_WINDOW: Final = 10_000

Bind: TypeAlias = Literal["Transceiver", "TransmitterAndReceiver", "Transmitter"]
Tls: TypeAlias = Literal["Disabled", "Required", "RequiredInsecure"]
LongMessage: TypeAlias = Literal["Udh", "Udh16", "Sar", "Payload"]
DefaultAlphabet: TypeAlias = Literal["Gsm", "Latin1"]
Registered: TypeAlias = Literal["Always", "OnFailure", "Never"]
IdFormat: TypeAlias = Literal["AsIs", "HexResponse", "HexReceipt"]
StatusClass: TypeAlias = Literal["transient", "permanent", "throttled", "account"]


def _statuses(_: object, _attribute: Attribute[Mapping[str, str]], value: Mapping[str, str]) -> None:
    for name in value:
        status_number(name)


def _tags(_: object, _attribute: Attribute[Mapping[str, str]], value: Mapping[str, str]) -> None:
    for name in value:
        tag_number(name)


@options
class SmppProtocol:
    """Delivery of text messages by SMPP 3.4 to an SMSC.

    Queues whose SMSC, names, password and connection options are the same share their binds.
    """

    channel: ClassVar[str] = "smpp"
    addressed_by: ClassVar[AddressedBy] = "phone"

    # -- the binds: equal ones are shared -----------------------------------------------------------
    host: str = option("The SMSC: a name or an IP address.")
    port: int = option("Its port; with TLS most have 3550.", default=2775, validator=between(1, 65_535))
    fallback_hosts: tuple[str, ...] = option(
        "Tried in this order when there is no bind to be had at `host`: `host` or `host:port`.", default=()
    )
    tls: Tls = option("Whether the connection is encrypted and the certificate must be good.", default="Disabled")
    system_id: str = option("Who we are to the SMSC.", validator=octets(15))
    password: KeySource = option("The password; read for each bind.", secret=True)
    system_type: str = option("What the provider told us to say, mostly nothing.", default="", validator=octets(12))
    account: str | None = option("What we call the account in records; none: the system_id.", default=None)
    bind: Bind = option(
        "One bind for both ways, one for each, or only one to send: no receipts come back then.", default="Transceiver"
    )
    address_range: str = option(
        "Numbers that a receiver wants messages for, as the provider has it.", default="", validator=octets(40)
    )
    window: int = option(
        "Messages that may be without answer at once.", default=10, unit="messages", validator=between(1, MAX_WINDOW)
    )
    max_submit_rate: Throttle | None = option(
        "Rate at which parts of texts leave over one bind; `max_message_rate` of a path counts whole texts.",
        default=None,
    )
    bind_timeout: Duration = option(
        "Wait for the connection, the handshake and the bind.", default=Duration(30.0), validator=positive
    )
    response_timeout: Duration = option("Wait for the answer to a message.", default=Duration(60.0), validator=positive)
    enquire_link_interval: Duration = option(
        "Ask a silent SMSC whether it is there.", default=Duration(30.0), validator=positive
    )
    receive_for: Duration = option(
        "Stay bound so long after the last message, so that receipts arrive.", default=Duration(900.0)
    )
    throttle_patience: Duration = option(
        "Messages that the SMSC throttles wait in place with growing pauses; after this long the source rests.",
        default=Duration(15.0),
    )
    max_rest: Duration = option("The longest pause between two tries to bind or to go on.", default=Duration(300.0))

    # -- the message --------------------------------------------------------------------------------
    sender: str = option("Who it is from, when the message does not say: a number, a short code or a name.", default="")
    source_ton: int | None = option(
        "Type of number of the sender; none: by what it looks like.", default=None, validator=between(0, 255)
    )
    source_npi: int | None = option(
        "Numbering plan of the sender; none: by what it looks like.", default=None, validator=between(0, 255)
    )
    dest_ton: int | None = option(
        "Type of number of the recipient; none: by what it looks like.", default=None, validator=between(0, 255)
    )
    dest_npi: int | None = option(
        "Numbering plan of the recipient; none: by what it looks like.", default=None, validator=between(0, 255)
    )
    sender_header: str | None = option("Header that names the sender; goes before meta `from.sms`.", default=None)
    to_meta: str | None = option("Meta key that has the number; goes before all else.", default=None)
    to_header: str | None = option("Header that has the number; goes before meta `to.phone`.", default=None)
    default_region: str | None = option(
        "Country of numbers without `+`, as `US`; none: such numbers are refused.", default=None, validator=check_region
    )
    text: SmsWordsOptions = option(
        "Which words of the message are sent, as a table; `docs/translation.md`.", factory=SmsWordsOptions
    )
    service_type: str = option("service_type, as the provider has it.", default="", validator=octets(5))
    default_alphabet: DefaultAlphabet = option("What data coding 0 means to the SMSC.", default="Gsm")
    allow_latin1: bool = option("Write what GSM has not in Latin-1 before UCS-2.", default=False)
    transliterate: bool = option(
        "Write look-alikes for characters that would make a text twice as dear.", default=False
    )
    long_message: LongMessage = option(
        "How long texts go out: with 8- or 16-bit headers, with sar parameters, or whole in message_payload.",
        default="Udh",
    )
    max_segments: int = option(
        "Parts that a text may take; what is longer is cut at a word.",
        default=10,
        unit="segments",
        validator=between(1, MAX_SEGMENTS),
    )
    cut: bool = option("Whether longer texts are cut; else they are refused.", default=True)
    flash: bool = option("Show the text at once and do not keep it (class 0).", default=False)
    priority: int = option("priority_flag, 0 to 3.", default=0, validator=between(0, 3))
    registered_delivery: Registered = option("When the SMSC is to send a receipt.", default="Always")
    intermediate_receipts: bool = option("Ask for receipts on the way, too.", default=False)
    tlvs: Mapping[str, str] = option(
        'Optional parameters of every message by tag: `{ ["0x1400"] = "1201160000000000001" }`.',
        factory=Table,
        validator=_tags,
    )
    meta_tlvs: Mapping[str, str] = option(
        'Optional parameters by tag whose values stand in the message\'s metadata: `{ ["0x1401"] = "template_id" }`.',
        factory=Table,
        validator=_tags,
    )
    validity: bool = option("Tell the SMSC when the message expires here.", default=True)
    max_validity: Duration | None = option("The longest validity that the SMSC takes; none: a month.", default=None)

    # -- answers ------------------------------------------------------------------------------------
    on_unknown: OnUnknown = option(
        "When a message was sent and no answer came: `Retry` risks a double, `Bounce` and `AssumeDelivered` a loss.",
        default="Retry",
    )
    status: Mapping[str, StatusClass] = option(
        'What statuses of the vendor mean: `{ ["0x401"] = "permanent" }`.', factory=Table, validator=_statuses
    )
    id_format: IdFormat = option(
        "Whether ids are hexadecimal in responses or in receipts and decimal in the other.", default="AsIs"
    )
    rest: Duration = option("How long all messages wait after the SMSC refused our account.", default=Duration(300.0))

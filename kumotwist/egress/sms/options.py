"""The options that all gateways for text messages have.

Public: `SmsOptions`, `CallbackOptions`, `validity`, `check_region`. A gateway's options class
derives from one of them. What can go wrong: ValueError for a region without numbers or a limit out of range, which
the policy's author sees.
"""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import Attribute

from kumotwist.config.bounds import between
from kumotwist.config.option import WrongOption, option, option_name, options
from kumotwist.config.translate import SmsWordsOptions
from kumotwist.egress.api.options import ApiOptions
from kumotwist.proto.phone import is_region
from kumotwist.proto.sms.segments import MAX_SEGMENTS
from kumotwist.proto.translate.whom import AddressedBy


def check_region(_: object, attribute: Attribute[str | None], value: str | None) -> None:
    """A validator: a country that has numbers."""
    if value is not None and not is_region(value):
        raise WrongOption(option_name(attribute), f"must be a country with phone numbers like 'US', got {value!r}")


@options
class SmsOptions(ApiOptions):
    """How a message becomes a text message."""

    addressed_by: ClassVar[AddressedBy] = "phone"

    sender: str | None = option(
        "Who it is from, when the message does not say: a number, a short code or a name.", default=None
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
    max_segments: int = option(
        "Parts that a text may take; what is longer is cut at a word.",
        default=10,
        unit="segments",
        validator=between(1, MAX_SEGMENTS),
    )
    transliterate: bool = option(
        "Write look-alikes for characters that would make a text twice as dear.", default=False
    )


@options
class CallbackOptions(SmsOptions):
    """The same for gateways that take a URL for reports with each text."""

    status_url: str | None = option(
        "URL of ours that it reports to, `/receipts/<channel>/<account>`; none: as set up at the provider.",
        default=None,
        secret=True,  # a provider that signs nothing has its token in the query
    )


def validity() -> Any:
    """The option for gateways that bound the time to deliver."""
    return option(
        "How long it may try to deliver; none: until the message expires here, or its own limit.", default=None
    )

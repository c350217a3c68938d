"""What is asked about a message that does not exist: addresses as people write them.

Public: `recipient`, `sender`, `metadata`, `address`. What can go wrong: ValueError that says what would do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from kumotwist.core.address import EnvelopeAddress, parse_address
from kumotwist.proto.phone import DOMAIN, e164


def recipient(text: str) -> EnvelopeAddress:
    """A mailbox, or a phone number, which has the place that the send API gives it. Raises ValueError."""
    if not text or text == "<>":
        raise ValueError("a recipient may not be empty")
    if text.startswith("+") and "@" not in text:
        return EnvelopeAddress(e164(text), DOMAIN)
    return _mailbox(text, "nor a phone number with + and its country code")


def sender(text: str) -> EnvelopeAddress:
    """A mailbox, or the empty sender of bounces. Raises ValueError."""
    return _mailbox(text, "nor empty as the sender of a bounce")


def address(text: str) -> str:
    """An IP address, as a client of a listener has it. Raises ValueError."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address, such as 192.0.2.1 or 2001:db8::1") from None


def metadata(recipients: Sequence[EnvelopeAddress], meta: Mapping[str, Any]) -> dict[str, Any]:
    """`meta`, and for a single phone number `to`, as the send API sets it."""
    number = recipients[0] if len(recipients) == 1 and recipients[0].domain == DOMAIN else None
    return {**({"to": {"phone": number.user}} if number is not None else {}), **meta}


def _mailbox(text: str, nor: str) -> EnvelopeAddress:
    try:
        return parse_address(text)
    except ValueError as error:
        is_named = not isinstance(error, UnicodeError) and not str(error).startswith("not a mailbox")
        why = f": {error}" if is_named else ""
        raise ValueError(f"{text!r} is neither a mailbox, such as ann@example.org, {nor}{why}") from None

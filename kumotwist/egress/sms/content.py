"""What of a message a text message needs: the number, the sender, the words.

Public: `number_of`, `sender_of`, `words_of`. What can go wrong: ValueError when
there is no number that could be dialled, naming what was found.
"""

from __future__ import annotations

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.message import Message
from kumotwist.egress.api.jsonapi import member
from kumotwist.egress.sms.options import SmsOptions
from kumotwist.proto.mime import headers
from kumotwist.proto.mime.parts import Decomposed
from kumotwist.proto.phone import e164


def number_of(message: Message, recipient: EnvelopeAddress, options: SmsOptions) -> str:
    """The recipient's number in E.164: of the options' meta key or header, meta `to.phone`, else the local part."""
    found = _meta(message, options.to_meta) or _header(message, options.to_header)
    found = found or member(message.meta.get("to"), "phone") or recipient.user
    return e164(str(found), options.default_region)


def sender_of(message: Message, options: SmsOptions) -> str | None:
    """Who it is from: by the options' header, meta `from.sms`, else the option. A number is in E.164."""
    found = _header(message, options.sender_header) or member(message.meta.get("from"), "sms") or options.sender
    return None if found is None else str(found).strip()


def words_of(parts: Decomposed) -> str:
    """The plain text; the subject stands in for a message without one."""
    return parts.text.strip() or parts.subject


def _meta(message: Message, key: str | None) -> str | None:
    value = message.meta.get(key) if key is not None else None
    return str(value) if isinstance(value, (str, int)) and value else None


def _header(message: Message, name: str | None) -> str | None:
    value = headers.first_value(message.body or b"", name) if name is not None else None
    return value.strip() or None if value is not None else None

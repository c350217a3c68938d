"""Names that an SMSC gives to messages. Public: `plain_id`."""

from __future__ import annotations


def plain_id(message_id: str, is_hex: bool) -> str:
    """An id without blanks; as a decimal number when the operator says that it is hexadecimal.

    Some SMSCs name a message in hexadecimal in the response and in decimal in
    the receipt, or the other way round.
    """
    if is_hex:
        try:
            return str(int(message_id, 16))
        except ValueError:
            pass
    return "".join(message_id.split()) if not message_id.isalnum() else message_id

"""MAIL and RCPT lines for what a server offers, or the reason why there can be none.

8BITMIME (RFC 6152) and SMTPUTF8 (RFC 6531) are used when needed and offered;
needed and not offered is a refusal of our own, unless the path is `lenient`
(`ignore_8bit_checks`) and sends regardless.

Public: `mail_command`, `rcpt_command`. Both give the line with its CRLF, or a
`Response` that is the result for the recipients concerned.
"""

from __future__ import annotations

from typing import Final

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.response import Response, internal
from kumotwist.proto.smtp.client_capabilities import Capabilities

_NO_8BITMIME: Final = internal(
    554,
    "5.6.3 DATA is 8bit, destination does not support 8BITMIME. "
    "Conversion via msg:check_fix_conformance during reception is required",
)
_NO_SMTPUTF8: Final = internal(554, "5.6.7 envelope is 8bit, destination does not support SMTPUTF8.")
_BAD_ADDRESS: Final = internal(553, "5.1.3 the address has control characters in it")


def mail_command(
    sender: EnvelopeAddress, body: bytes, has_utf8_recipient: bool, offered: Capabilities, lenient: bool
) -> str | Response:
    """The MAIL line for a message with this body, some of whose recipients may be non-ASCII."""
    path = sender.email
    parameters = ""
    if not body.isascii():
        if offered.has_8bitmime:
            parameters = " BODY=8BITMIME"
        elif not lenient:
            return _NO_8BITMIME
    if has_utf8_recipient or not path.isascii():
        if offered.has_smtputf8:
            parameters += " SMTPUTF8"
        elif not lenient and not path.isascii():
            return _NO_SMTPUTF8
    return f"MAIL FROM:<{path}>{parameters}\r\n" if _is_clean(path) else _BAD_ADDRESS


def rcpt_command(recipient: EnvelopeAddress, offered: Capabilities, lenient: bool) -> str | Response:
    """The RCPT line."""
    path = recipient.email
    if not (path.isascii() or offered.has_smtputf8 or lenient):
        return _NO_SMTPUTF8
    return f"RCPT TO:<{path}>\r\n" if _is_clean(path) else _BAD_ADDRESS


def _is_clean(path: str) -> bool:
    """Whether no control character could end the command early; `parse_address` lets none in, policy might."""
    return path.isprintable() or not any(char < " " or char == "\x7f" for char in path)

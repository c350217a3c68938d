"""SMTP replies as bytes, and the texts that the server core itself answers with.

The texts are KumoMTA's, since clients and dashboards match on them. What the
core has to say is a `(code, text)` pair; the shell may rewrite it before
`format_reply` puts it on the wire.

Public: `format_reply`, `Answer` texts as constants. Nothing can go wrong:
whatever text comes in, what goes out is a well-formed reply.
"""

from __future__ import annotations

import re
from typing import Final

#: Octets of text in one reply line: RFC 5321 s4.5.3.1.5 allows 512 with code and CRLF.
MAX_REPLY_TEXT: Final = 512 - 6

OK_RSET: Final = (250, "Reset state")
OK_NOOP: Final = (250, "the goggles do nothing")
BYE: Final = (221, "So long, and thanks for all the fish!")
SEND_BODY: Final = (354, "Send body; end with CRLF.CRLF")
READY_FOR_TLS: Final = (220, "Ready to Start TLS")
AUTH_OK: Final = (235, "2.7.0 AUTH OK!")

UNIMPLEMENTED: Final = (502, "5.5.1 Command unimplemented")
BAD_UTF8: Final = (501, "5.5.2 Invalid UTF-8 in command")
SYNTAX: Final = (501, "Syntax error in command or arguments")
LINE_TOO_LONG: Final = (500, "5.2.3 line too long")
TOO_MANY_ERRORS: Final = "4.7.0 {} too many errors"

MAIL_TWICE: Final = (503, "5.5.0 MAIL FROM already issued; you must RSET first")
BAD_SENDER: Final = (501, "5.1.7 Bad sender's mailbox address syntax")
NEED_MAIL: Final = (503, "5.5.0 MAIL FROM must be issued first")
BAD_RECIPIENT: Final = (501, "5.1.3 Invalid recipient address syntax")
NEED_RCPT: Final = (503, "5.5.0 RCPT TO must be issued first")
TOO_MANY_RECIPIENTS: Final = (452, "4.5.3 too many recipients")
TOO_MANY_ON_CONNECTION: Final = "4.5.3 {} too many recipients on this connection"
TOO_BIG: Final = (552, "5.3.4 message too big")
BAD_LINE_ENDS: Final = (552, "5.6.0 message data must use CRLF for line endings")
HAS_NUL: Final = (552, "5.6.0 message data must not contain NUL")

TLS_ALREADY: Final = (501, "Cannot STARTTLS as TLS is already active")
TLS_UNAVAILABLE: Final = (454, "4.7.0 TLS not available")
AUTH_NEEDS_TLS: Final = "5.7.11 AUTH {} requires an encrypted channel"
AUTH_UNSUPPORTED: Final = "5.5.4 AUTH {} not supported"
AUTH_TWICE: Final = (503, "5.5.1 AUTH me once, can't get authed again!")
AUTH_IN_TRANSACTION: Final = (503, "5.5.1 AUTH not permitted inside a transaction")
AUTH_CANCELLED: Final = (501, "5.5.0 AUTH cancelled by client")
AUTH_MALFORMED: Final = (501, "5.5.2 AUTH response is not valid base64")
AUTH_INVALID: Final = (535, "5.7.8 AUTH invalid")
XCLIENT_DENIED: Final = (550, "insufficient authorization")
XCLIENT_IN_TRANSACTION: Final = (503, "5.5.1 XCLIENT not permitted inside a transaction")

#: The forms that mean a line break to somebody, and everything else that does not belong in a reply.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def format_reply(code: int, text: str) -> bytes:
    r"""The reply on the wire; "\n" in `text` separates lines, long lines are wrapped at spaces."""
    if text.isascii() and text.isprintable() and len(text) <= MAX_REPLY_TEXT:
        return b"%d %b\r\n" % (code, text.encode())
    lines = [part for line in _clean(text).split("\n") for part in _wrap(line)]
    marked = [f"{code}-{line}" for line in lines[:-1]] + [f"{code} {lines[-1]}"]
    return "".join([line + "\r\n" for line in marked]).encode("utf-8", "replace")


def _clean(text: str) -> str:
    return _CONTROLS.sub("?", text.replace("\r\n", "\n").replace("\t", " "))


def _wrap(line: str) -> list[str]:
    """Pieces of at most `MAX_REPLY_TEXT` octets, cut at spaces where there are any."""
    pieces = []
    # A character has at most four octets, so this many always fit.
    room = MAX_REPLY_TEXT if line.isascii() else MAX_REPLY_TEXT // 4
    while len(line) > room:
        cut = line.rfind(" ", 1, room)
        cut = room if cut < 0 else cut
        pieces.append(line[:cut])
        line = line[cut:].lstrip(" ")
    return [*pieces, line]

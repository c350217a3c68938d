"""The method of the message facade that finds and settles what strays from the RFCs.

Public: `CONFORMANCE_METHODS`, named as Lua calls them; `lua.message` makes
methods of them. What can go wrong: ValueError for an unknown issue, ConfigError
for a wrong option. What is wrong with the message is the method's answer.
"""

from __future__ import annotations

from typing import Final

from kumotwist.config.conformance import RepairOptions
from kumotwist.config.structure import structure
from kumotwist.core.ids import created_at, to_hex
from kumotwist.core.message import Message
from kumotwist.lua.binding import text
from kumotwist.lua.messageheaders import BodyMethod
from kumotwist.proto.mime.conformance import MISSING_FIELDS, Issue, find_issues, in_words, parse_issues
from kumotwist.proto.mime.encode import ascii_domain, date_time
from kumotwist.proto.mime.guess import Guess
from kumotwist.proto.mime.repair import put_field, repair
from kumotwist.proto.mime.tree import TooComplex


def check_fix_conformance(
    message: Message, body: bytes, checks: object, fixes: object, settings: object = None
) -> str | None:
    """What of `checks` is wrong with it, in one line, else nil; what is wrong of `fixes` is put right."""
    check, fix = parse_issues(text(checks, "checks")), parse_issues(text(fixes, "fixes"))
    options = structure(RepairOptions, {} if settings is None else settings, "message:check_fix_conformance")
    found = find_issues(body, check | fix)
    failed, to_fix = (check - fix) & found, fix & found
    if failed:
        return f"Message has conformance issues: {in_words(failed)}"
    if not to_fix:
        return None
    if to_fix - MISSING_FIELDS:
        guess = Guess(options.include_encodings, options.exclude_encodings) if options.detect_encoding else None
        try:
            body = repair(body, guess)
        except TooComplex as error:
            return f"Message cannot be repaired: it has {error}"
    message.set_body(_completed(message, body, to_fix, options))
    return None


def _completed(message: Message, body: bytes, missing: frozenset[Issue], options: RepairOptions) -> bytes:
    """`body` with the fields that it lacked."""
    if Issue.MISSING_DATE_HEADER in missing:
        body = put_field(body, "Date", date_time(int(created_at(message.id))))
    if Issue.MISSING_MIME_VERSION in missing:
        body = put_field(body, "Mime-Version", "1.0")
    if Issue.MISSING_MESSAGE_ID_HEADER in missing:
        own = f"{to_hex(message.id)}@{ascii_domain(message.sender.domain) or 'localhost'}"
        body = put_field(body, "Message-ID", f"<{options.message_id or own}>")
    return body


CONFORMANCE_METHODS: Final[tuple[BodyMethod, ...]] = (check_fix_conformance,)

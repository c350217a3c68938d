"""message:check_fix_conformance as policies use it."""

from __future__ import annotations

import pytest
from support.lua import Bench, now

from kumotwist.core.errors import PolicyError
from kumotwist.core.message import Message
from kumotwist.proto.mime import headers

EVERYTHING = (
    "LINE_TOO_LONG|NAME_ENDS_WITH_SPACE|NEEDS_TRANSFER_ENCODING|NON_CANONICAL_LINE_ENDINGS|MISSING_DATE_HEADER"
    "|MISSING_MESSAGE_ID_HEADER|MISSING_MIME_VERSION"
)


def run(bench: Bench, message: Message, arguments: str) -> object:
    """What the method returns."""
    policy = bench.policy(f"kumo.on('go', function(msg) return msg:check_fix_conformance({arguments}) end)")
    return now(policy.run_event("go", [message]))


def test_problems_are_told_not_raised(bench: Bench) -> None:
    """The text is KumoMTA's, for a policy puts it into its reply; what is to be fixed is not told."""
    body = b"Subject\r\nX-Y : z\r\n\r\nhello\n"
    message = bench.message(body)
    told = run(bench, message, "'MISSING_COLON_VALUE|NON_CANONICAL_LINE_ENDINGS|NAME_ENDS_WITH_SPACE', ''")
    assert told == (
        "Message has conformance issues: MISSING_COLON_VALUE|NAME_ENDS_WITH_SPACE|NON_CANONICAL_LINE_ENDINGS"
    )
    assert message.body == body
    assert run(bench, message, "'MISSING_COLON_VALUE', 'MISSING_COLON_VALUE'") is None
    assert message.body is not None
    assert message.body.startswith(b'X-Y: z\r\nContent-Type: text/plain;\r\n\tcharset="us-ascii"\r\n')
    assert message.body.endswith(b"\r\n\r\nhello\r\n")


def test_missing_fields_leave_the_rest_as_it_is(bench: Bench) -> None:
    """Date is when the message came, Message-ID its id at the sender's domain."""
    body = b"Subject: x\r\nX-Y : z\r\n\r\n\xff hello\r\n"
    message = bench.message(body)
    assert run(bench, message, "'', 'MISSING_DATE_HEADER|MISSING_MESSAGE_ID_HEADER|MISSING_MIME_VERSION'") is None
    assert message.body is not None
    assert message.body.startswith(b"Subject: x\r\nX-Y : z\r\nDate: ")
    assert message.body.endswith(b"\r\n\r\n\xff hello\r\n")
    assert headers.first_value(message.body, "message-id") == f"<{message.id.hex()}@{message.sender.domain}>"
    assert headers.first_value(message.body, "mime-version") == "1.0"
    given = bench.message(body)
    run(bench, given, "'', 'MISSING_MESSAGE_ID_HEADER', { message_id = 'mine@here' }")
    assert given.body is not None
    assert headers.first_value(given.body, "message-id") == "<mine@here>"


def test_a_message_that_conforms_is_not_touched(bench: Bench) -> None:
    """A signature over it stays good."""
    body = b"Date: Tue, 1 Jul 2003 10:52:37 +0200\r\nMessage-ID: <1@x.y>\r\nMime-Version: 1.0\r\n\r\nhello\r\n"
    message = bench.message(body)
    assert run(bench, message, f"'MISSING_COLON_VALUE', '{EVERYTHING}'") is None
    assert message.body == body


def test_what_cannot_be_repaired_is_told(bench: Bench) -> None:
    """A message with parts without end is not taken apart; nothing but a wish to repair it meets that."""
    body = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n\xff\r\n" * 600
    assert run(bench, bench.message(body), "'NON_CANONICAL_LINE_ENDINGS', ''") is None
    told = run(bench, bench.message(body), "'', 'NEEDS_TRANSFER_ENCODING'")
    assert told == "Message cannot be repaired: it has more than 500 parts"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("'spoon', ''", "invalid MessageConformance flag 'spoon', possible values are 'INVALID_MIME_HEADERS', "),
        ("'', '', { detect = true }", "message:check_fix_conformance: unknown option 'detect'"),
        ("", "check_fix_conformance"),
    ],
)
def test_mistakes_of_the_policy_are_errors(bench: Bench, arguments: str, error: str) -> None:
    """They name the flag or the option."""
    with pytest.raises(PolicyError, match=error):
        run(bench, bench.message(b"x: y\r\n\r\n"), arguments)

"""Messages for providers that take MIME: nothing doubled, nobody told who should not be, nobody mailed twice."""

from email import message_from_bytes

import pytest

from kumotwist.egress.api.rawmime import addressed, outgoing

MESSAGE = (
    b"Received: from inside.example\r\n\tby us\r\nDKIM-Signature: v=1;\r\n b=abc\r\nReturn-Path: <x@y>\r\n"
    b'From: a@src.test\r\nTo: =?utf-8?q?J=C3=BCrgen?= <B@dest.test>,\r\n "D, E" <d@dest.test>\r\ncc: c@dest.test\r\n'
    b"Bcc: hidden@dest.test\r\nSubject: s\r\n\r\nReceived: in the body\r\n"
)


def test_what_the_provider_adds_itself_goes():
    """One DKIM signature, one trace; the body is not touched, and Bcc never leaves."""
    message = message_from_bytes(outgoing(MESSAGE))
    assert message.keys() == ["From", "To", "cc", "Subject"]
    assert message.get_payload() == "Received: in the body\r\n"


@pytest.mark.parametrize(
    ("recipients", "to", "cc", "bcc"),
    [
        (["b@dest.test"], "=?utf-8?q?J=C3=BCrgen?= <B@dest.test>", None, None),
        (["c@dest.test", "d@dest.test"], '"D, E" <d@dest.test>', "c@dest.test", None),
        (["z@dest.test"], None, None, "z@dest.test"),
        (["d@dest.test", "y@dest.test", "z@dest.test"], '"D, E" <d@dest.test>', None, "y@dest.test,\r\n z@dest.test"),
    ],
)
def test_the_headers_name_the_envelope_and_nobody_else(recipients, to, cc, bcc):
    """A copy for one of three recipients is mailed to that one; who is hidden stays hidden."""
    message = message_from_bytes(addressed(MESSAGE, recipients))
    assert (message["to"], message["cc"], message["bcc"]) == (to, cc, bcc)
    assert message["subject"] == "s"

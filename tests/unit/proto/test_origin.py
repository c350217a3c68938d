"""A message of ours that a report returns is known again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.config.listener import TraceHeaders
from kumotwist.core.ids import IdGenerator
from kumotwist.core.origin import Origin
from kumotwist.proto.mime.trace import Reception, received, supplemental
from kumotwist.proto.origin import message_id_of, origin_of

NEW_ID = IdGenerator(lambda: 1795462177.0)
HEADERS = b"Subject: hi\r\nMessage-ID: <m1@shop.example>\r\n"


def hop(spool_id, protocol="ESMTP", tls=""):
    reception = Reception("client.example", "192.0.2.7", "mx.example", "192.0.2.1", protocol, tls)
    return received(reception, spool_id.hex(), "ann@far.example", 1795462177.0)


@pytest.mark.parametrize("end", [b"\r\n\r\nhello\r\n", b"\r\n", b"\r\n\r\nMessage-ID: <other@far.example>\r\n"])
@pytest.mark.parametrize("lines", [b"\r\n", b"\n"])
def test_our_headers_name_our_message(end, lines):
    """Each hop of our kind, the last one first, the Message-ID and for whom it was; however lines end and fold."""
    first, last = NEW_ID(), NEW_ID()
    ours = supplemental(TraceHeaders(), ["Ann@far.example"], {})
    others = b"Received: from mx.example by far.example with ESMTP id 0123456789abcdef0123456789abcdef;\r\n date\r\n"
    returned = others + ours + hop(last, "ESMTPS", "TLSv1.3:AES") + hop(first) + HEADERS.rstrip() + end
    found = origin_of(returned.replace(b"\r\n", lines))
    assert found == Origin((last, first), "m1@shop.example", ("Ann@far.example",))
    refolded = returned.replace(b"\r\n  by ", b"\r\n\tby ").replace(b") \r\n  with", b")\r\n\twith")
    assert origin_of(refolded).ids == (last, first)


def test_what_is_not_returned_names_nothing():
    """A report without the message, or with one that is not ours."""
    assert origin_of(None) == origin_of(b"") == origin_of(b"Subject: x\r\n\r\nid\r\n") == Origin()


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        (b"message-id:<a@b>\r\nX: y\r\n\r\n", "a@b"),
        (b"X: Message-ID: <no@b>\r\nMESSAGE-ID:\r\n <folded@b>\r\n\r\n", "folded@b"),
        (b"Message-ID: bare@b\r\n\r\n", "bare@b"),
        (b"Resent-Message-ID: <no@b>\r\n\r\nMessage-ID: <body@b>\r\n", ""),
        (b"Message-ID:\r\n\r\n<body@b>", ""),
        (b"", ""),
    ],
)
def test_the_message_id(headers, name):
    """Of the header block, in any spelling."""
    assert message_id_of(headers) == name


@given(st.binary(max_size=400))
def test_any_octets_may_come_back(octets):
    """Nothing that a report brings along breaks the reading of it."""
    origin_of(b"Message-ID: " + octets)
    origin_of(octets)

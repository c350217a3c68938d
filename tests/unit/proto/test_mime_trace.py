"""The headers that we put on top of what we accept."""

from __future__ import annotations

import base64
import json

from kumotwist.config.listener import TraceHeaders
from kumotwist.proto.mime.trace import Reception, received, supplemental

RECEPTION = Reception("client.test", "192.0.2.1", "mx.test", "198.51.100.2", "ESMTP")


def test_received():
    """The Received header in KumoMTA's form."""
    assert received(RECEPTION, "00ff", "c@d.example", 1700000000.9) == (
        b"Received: from client.test (192.0.2.1)\r\n"
        b"  by mx.test (KumoMTA 198.51.100.2) \r\n"
        b"  with ESMTP id 00ff for <c@d.example>;\r\n"
        b"  Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    )


def test_received_over_tls_without_hello():
    """TLS is named, and a client that never said hello is `unspecified`."""
    reception = Reception("", "192.0.2.1", "mx.test", "198.51.100.2", "ESMTPS", "TLSv1.3:TLS_AES_256_GCM_SHA384")
    lines = received(reception, "00ff", "c@d.example", 0).split(b"\r\n")
    assert lines[0] == b"Received: from unspecified (192.0.2.1)"
    assert lines[2] == b"  with ESMTPS (TLSv1.3:TLS_AES_256_GCM_SHA384) id 00ff for <c@d.example>;"


def test_no_header_can_be_injected():
    """Controls in what policy set as recipient do not start a new line."""
    assert b"\r\nX-Evil" not in received(RECEPTION, "00ff", "c\r\nX-Evil: 1@d.example", 0)


def decoded(header):
    name, _, value = header.partition(b": ")
    text = base64.b64decode(value.replace(b"\r\n\t", b""))
    assert text.startswith(b'{"_@_":"\\\\_/",')
    return name, json.loads(text)


def test_supplemental():
    """X-KumoRef holds the recipient, or the list of them, and the chosen meta."""
    header = supplemental(TraceHeaders(), ["c@d.example"], {"tenant": "t"})
    assert decoded(header) == (b"X-KumoRef", {"_@_": "\\_/", "recipient": "c@d.example"})
    trace = TraceHeaders(header_name="X-Ref", include_meta_names=("tenant", "absent"))
    header = supplemental(trace, ["c@d.example", "e@f.example"] * 20, {"tenant": {"deep": [1]}, "other": 1})
    name, content = decoded(header)
    assert name == b"X-Ref"
    assert content == {"_@_": "\\_/", "recipient": ["c@d.example", "e@f.example"] * 20, "tenant": {"deep": [1]}}
    assert header.endswith(b"\r\n")
    assert all(len(line) <= 75 for line in header.split(b"\r\n"))

"""message:as_sms, as_push and as_chat as policies use them."""

from __future__ import annotations

import pytest
from support.lua import Bench, now

from kumotwist.core.errors import PolicyError
from kumotwist.core.message import Message

REPLY = (
    b"From: Ann <ann@example.com>\r\nSubject: =?utf-8?q?T=C3=BCr?= offen\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n\r\n"
    b"<p>Door <b>two</b> is open: <a href='https://e.example/2'>look</a></p><p>-- <br>Ann</p>"
)


def _run(bench: Bench, message: Message, source: str) -> object:
    policy = bench.policy(f"kumo.on('go', function(msg)\n{source}\nend)")
    return now(policy.run_event("go", [message]))


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("return msg:as_sms().text", "Door two is open: look (https://e.example/2)"),
        ("local s = msg:as_sms {} return s.segments .. s.coding", "1gsm"),
        ("return msg:as_sms { subject = 'prefix', urls = false }.text", "Tür offen: Door two is open: look"),
        ("return msg:as_sms { keep_signature = true }.text:sub(-6)", "--\nAnn"),
        ("return msg:as_push().title", "Tür offen"),
        ("return msg:as_push { title = 'News', max_body = 12 }.body", "Door two…"),
        ("msg:set_meta('data', { id = 7 }) return msg:as_push().data.id", 7),
        ("return #msg:as_push().data", 0),
        (
            "return msg:as_chat { dialect = 'slack' }.text",
            "*Tür offen*\nDoor *two* is open: <https://e.example/2|look>",
        ),
        ("return msg:as_chat { subject = false }.text", "Door two is open: look (https://e.example/2)"),
    ],
)
def test_translating(bench: Bench, source: str, result: object) -> None:
    """A table for each way out; nothing about the message changes."""
    message = bench.message(REPLY)
    assert _run(bench, message, source) == result
    assert message.body == REPLY


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("msg:as_sms { max_segment = 1 }", "message:as_sms: .*max_segment.*did you mean 'max_segments'"),
        ("msg:as_sms { max_segments = 0 }", "message:as_sms: .*'max_segments' must be from 1 to 255, got 0"),
        ("msg:as_chat { dialect = 'slak' }", "dialect.*did you mean 'slack'"),
        ("msg:as_push(7)", "message:as_push: .*table"),
        ("msg:set_meta('data', 'x') msg:as_push()", "meta 'data' must be an object"),
    ],
)
def test_mistakes_are_named(bench: Bench, source: str, error: str) -> None:
    """With the method and what to write instead."""
    with pytest.raises(PolicyError, match=error):
        _run(bench, bench.message(REPLY), source)


def test_an_encrypted_message_has_no_text(bench: Bench) -> None:
    """The policy hears why, and may catch it."""
    message = bench.message(b"Content-Type: application/pkcs7-mime\r\n\r\nMIIB")
    found = _run(bench, message, "local ok, why = pcall(msg.as_sms, msg) return tostring(ok) .. tostring(why)")
    assert isinstance(found, str)
    assert found.startswith("false")
    assert "no readable text: it is signed or encrypted with S/MIME" in found

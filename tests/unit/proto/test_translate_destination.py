"""Whom a message is for when that is no mailbox, by the declared order."""

import pytest

from kumotwist.core.address import parse_address
from kumotwist.core.ids import SpoolId
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.proto.translate import destination


def message(*recipients: str, meta: JsonObject | None = None, headers: str = "") -> Message:
    body = f"{headers}Subject: x\r\n\r\n".encode()
    to = tuple(parse_address(one) for one in recipients)
    return Message(
        id=SpoolId(bytes(16)), sender=parse_address("a@b.example"), recipients=to, meta=meta or {}, body=body
    )


def phone(
    given: Message, *, region: str | None = None, to_meta: str | None = None, to_header: str | None = None
) -> str:
    """The number of the only recipient."""
    return destination.phone(given, given.recipients[0], region=region, to_meta=to_meta, to_header=to_header)


def device_token_of(given: Message) -> str:
    """The token of the last recipient."""
    return destination.device_token(given, given.recipients[-1])


def chat_of(given: Message) -> str:
    """The chat of the last recipient."""
    return destination.chat(given, given.recipients[-1])


def test_the_order() -> None:
    """Option, metadata `to`, envelope: the first that is there."""
    full = message(
        "+15550000004@sms",
        meta={"number": "+15550000001", "to": {"phone": "+15550000003"}},
        headers="X-Number: +15550000002\r\n",
    )
    assert phone(full, to_meta="number", to_header="X-Number") == "+15550000001"
    assert phone(full, to_meta="other", to_header="X-Number") == "+15550000002"
    assert phone(full) == "+15550000003"
    del full.meta["to"]
    assert phone(full) == "+15550000004"


def test_numbers_become_e164() -> None:
    """As dialled in the region, or with the country code."""
    assert phone(message("030-901820@sms.example"), region="DE") == "+4930901820"
    assert phone(message("+49.30.901820@sms.example")) == "+4930901820"
    with pytest.raises(ValueError, match="no default region"):
        phone(message("030901820@sms"))
    with pytest.raises(ValueError, match="no phone number in bob@sms, and no 'phone' in meta 'to'"):
        phone(message("bob@sms"))


def test_one_number_is_not_for_many_recipients() -> None:
    """Metadata names one address; with several recipients each has its own in the envelope."""
    both = message("+15550000001@sms", "+15550000002@sms", meta={"to": {"phone": "+15550000003"}})
    assert [destination.phone(both, one) for one in both.recipients] == ["+15550000001", "+15550000002"]


def test_tokens_chats_and_subscriptions() -> None:
    """The hash in the envelope is never taken for a token."""
    assert device_token_of(message("ab12@push", meta={"to": {"device_token": "t0ken"}})) == "t0ken"
    assert device_token_of(message("t0ken@fcm.example")) == "t0ken"
    with pytest.raises(ValueError, match="there is no device token: meta 'to' has no 'device_token'"):
        device_token_of(message("ab12@push"))
    assert chat_of(message("general@chat")) == "general"
    assert chat_of(message("x@chat", meta={"to": {"chat": "C024BE91L"}})) == "C024BE91L"
    assert chat_of(message("a@chat", "b@chat", meta={"to": {"chat": "C024BE91L"}})) == "b"
    subscription: JsonObject = {"endpoint": "https://push.example/1", "keys": {"p256dh": "x", "auth": "y"}}
    assert destination.web_push(message("ab@webpush", meta={"to": {"web_push": subscription}})) == subscription
    assert (
        destination.web_push(message("ab@webpush", meta={"browser": subscription}), to_meta="browser") == subscription
    )
    with pytest.raises(ValueError, match="no 'web_push'"):
        destination.web_push(message("ab@webpush"))

"""Whom a message goes to by a channel: what budgets count is what the channel's request names."""

import pytest

from kumotwist.config.queue import SmtpProtocol
from kumotwist.core.address import parse_address
from kumotwist.core.ids import SpoolId
from kumotwist.core.message import SPLIT_FROM, Message
from kumotwist.egress.protocols import BUILT_IN, protocol
from kumotwist.proto.translate.whom import needs_body, short_hash, whom_of

KEY = {"api_key": {"key_data": "x"}}
TELNYX = {"telnyx": {**KEY, "sender": "+15550001111", "to_meta": "number", "to_header": "X-Number"}}
SMPP = {"smpp": {"host": "smsc.example", "system_id": "us", "password": {"key_data": "x"}}}
FCM = {"fcm": {"service_account": {"key_data": "x"}, "to_meta": "device"}}
TELEGRAM = {"telegram": {"token": {"key_data": "x"}, "to_meta": "room", "chat": "@default"}}


def message(*recipients, headers="", **meta):
    to = tuple(parse_address(one) for one in recipients)
    body = f"{headers}Subject: x\r\n\r\n".encode()
    return Message(id=SpoolId(bytes(16)), sender=parse_address("a@b.example"), recipients=to, meta=meta, body=body)


def whom(way, given):
    return [whom_of(given, one, protocol(way, "test")) for one in given.recipients]


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (message("ann@example.org", number="+49 30 901820"), "+4930901820"),
        (message("ann@example.org", headers="X-Number: +4930901820\r\n"), "+4930901820"),
        (message("ann@example.org", to={"phone": "+4930901820"}), "+4930901820"),
        (message("+4930901820@anywhere.example"), "+4930901820"),
        (message("+4930901820@sms", number="+79161234567"), "+79161234567"),
        # Written for several together, so for none of them.
        (message("+4930901820@sms", number="+79161234567", **{SPLIT_FROM: "00"}), "+4930901820"),
    ],
)
def test_a_text_goes_to_the_number_that_the_channel_dials(given, number):
    """Not to the mailbox of the envelope, which may be another for each message."""
    (found,) = whom(TELNYX, given)
    assert (found.name, found.number) == (number, number)


def test_a_number_of_the_region_is_one():
    """As the channel reads it."""
    (found,) = whom({"telnyx": {**TELNYX["telnyx"], "default_region": "DE"}}, message("030901820@sms"))
    assert found.number == "+4930901820"


def test_an_smsc_is_sent_numbers_that_nobody_has():
    """Whether there are such is for it to say, so they are counted."""
    (found,) = whom(SMPP, message("+7916@sms"))
    assert found.number == ""
    (found,) = whom(SMPP, message("+7916123@sms"))
    assert found.number == "+7916123"


def test_where_no_number_is_found_it_is_the_mailbox():
    """The channel will refuse it; one that is refused again and again is one."""
    (found,) = whom(TELNYX, message("Ann@Example.org"))
    assert (found.name, found.number) == ("ann@example.org", "")


def test_tokens_and_urls_are_told_to_nobody():
    """Budgets are named in records: there they are the hashes that the send API puts into envelopes."""
    (found,) = whom(FCM, message("ann@example.org", device="token-1"))
    assert (found.name, found.number) == (f"{short_hash('token-1')}@push", "")
    push = {"endpoint": "https://push.example/1", "keys": {}}
    webpush = {"webpush": {"vapid_key": {"key_data": "x"}, "subject": "mailto:a@b.example"}}
    (found,) = whom(webpush, message("ann@example.org", to={"web_push": push}))
    assert found.name == f"{short_hash(push['endpoint'])}@webpush"
    (found,) = whom({"discord": {}}, message("x@chat", to={"chat": "https://discord.example/hook/secret"}))
    assert "secret" not in found.name


def test_posts_are_counted_by_chat():
    """Those of the message, of the option, or one for all with the operator's webhook."""
    assert whom(TELEGRAM, message("ann@example.org", room="-100"))[0].name == "-100"
    assert whom(TELEGRAM, message("ann@example.org"))[0].name == "@default"
    hook = {"slack": {"webhook": {"key_data": "x"}}}
    assert {one.name for one in whom(hook, message("a@chat", "b@chat"))} == {"webhook"}


def test_mail_goes_to_its_mailbox():
    """A number in it is one, as before a gateway that turns mail into texts."""
    found = [
        whom_of(message(one), parse_address(one), SmtpProtocol()) for one in ("Ann@example.org", "+4930901820@sms")
    ]
    assert [(one.name, one.number) for one in found] == [("ann@example.org", ""), ("+4930901820", "+4930901820")]


def test_only_a_header_needs_the_body():
    """So the spool is not read for the others."""
    assert needs_body(protocol(TELNYX, "test"))
    assert not needs_body(SmtpProtocol())


def test_each_channel_with_an_address_of_its_own_says_so():
    """A new one that forgets it would be counted by mailboxes."""
    from kumotwist.egress.protocols import load

    kinds = {name: load(name).options for name in BUILT_IN}
    named = {name for name, options in kinds.items() if hasattr(options, "to_meta")}
    assert named == {name for name, options in kinds.items() if hasattr(options, "addressed_by")}
    assert {"telnyx", "smpp", "fcm", "apns", "webpush", "telegram", "slack"} <= named

"""From a message to the texts that gateways are asked to send."""

from importlib import import_module

import pytest
from support.fakes_egress import make_message

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.translate import SmsWordsOptions
from kumotwist.core.errors import ConfigError
from kumotwist.core.outcome import Peer, Scope, Verdict
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.protocols import load, protocol
from kumotwist.egress.sms.content import sender_of
from kumotwist.egress.sms.gateway import digits, plan_texts, refused
from kumotwist.egress.sms.twilio import TwilioOptions
from kumotwist.net.http import HttpRequest, HttpResponse

JUDGE = Judge(Peer("gw", "gw", "HTTP"), (), 300.0, lambda: 0.0)


def make_options(**more):
    return TwilioOptions(account_sid="AC1", auth_token=LiteralKey(b"x"), **more)


def plan(message, options=None, now=0.0):
    return plan_texts(
        [message], options or make_options(), JUDGE, lambda text: HttpRequest(b"POST", "http://gw.test"), now
    )


def text(words, **headers):
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{words}\r\n".encode()


def test_the_number_comes_from_where_the_options_say_before_all_else():
    """Meta key, header, meta `to.phone`, local part: the first that is there, in E.164."""
    message = make_message(
        "+4930000001@sms",
        body=text("hi", **{"X-Phone": "+49 30 000003"}),
        meta={"to": {"phone": "+4930000002"}, "mobile": "+49 30 000004"},
    )
    assert plan(message, make_options(to_meta="mobile", to_header="X-Phone"))[0].note.to == "+4930000004"
    assert plan(message, make_options(to_header="X-Phone"))[0].note.to == "+4930000003"
    assert plan(message)[0].note.to == "+4930000002"
    message.meta.clear()
    assert plan(message)[0].note.to == "+4930000001"
    national = make_message("030123456@sms.example", body=text("hi"))
    assert plan(national, make_options(default_region="DE"))[0].note.to == "+4930123456"


@pytest.mark.parametrize("recipient", ["ann@sms.example", "030123456@sms", "+49@sms"])
def test_a_recipient_that_is_no_number_is_refused_and_the_others_go_on(recipient):
    """One bad number costs its own recipient only, and the record names it."""
    bad, good = plan(make_message(recipient, "+4930123456@sms", body=text("hi")))
    assert isinstance(bad, Refused)
    assert bad.targets == ((0, 0),)
    assert bad.outcome.verdict is Verdict.PERMANENT
    assert "no number to send to" in bad.outcome.response.content
    assert isinstance(good, Call)
    assert good.note.to == "+4930123456"


def test_the_sender_comes_from_the_message_before_the_options():
    """Header, then meta `from.sms`, which the send API fills, then the option."""
    message = make_message("+4930123456@sms", body=text("hi", **{"X-From": "A"}), meta={"from": {"sms": "B"}})
    assert sender_of(message, make_options(sender="C", sender_header="X-From")) == "A"
    assert sender_of(message, make_options(sender="C")) == "B"
    message.meta.clear()
    assert plan(message, make_options(sender="C"))[0].note.sender == "C"
    assert plan(message)[0].note.sender is None


def test_a_message_without_words_is_refused():
    """Nobody pays for an empty text; the subject will do."""
    for nothing in ("", "\u200b\u2060", "<p>&nbsp;</p><img src='https://a.test/1.gif'>"):
        kind = "html" if "<" in nothing else "plain"
        headers = {"Subject": "\ufeff", "Content-Type": f"text/{kind}; charset=utf-8"}
        (step,) = plan(make_message("+4930123456@sms", body=text(nothing, **headers)))
        assert isinstance(step, Refused)
        assert step.outcome.response.content.endswith("there is nothing to read in the message")
    (step,) = plan(make_message("+4930123456@sms", body=text("", Subject="only this")))
    assert step.note.words == "only this"


def test_a_text_is_cut_to_what_the_operator_pays_for():
    """`max_segments` bounds the price, and look-alikes spare a UCS-2 text when asked to."""
    (step,) = plan(make_message("+4930123456@sms", body=text("word " * 200)), make_options(max_segments=2))
    assert step.note.sms.segments == 2
    assert step.note.words.endswith("...")
    curly = make_message("+4930123456@sms", body=text("“Hello”"))
    assert plan(curly)[0].note.is_unicode
    (step,) = plan(curly, make_options(transliterate=True))
    assert (step.note.words, step.note.is_unicode) == ('"Hello"', False)


def test_the_words_are_translated():
    """HTML reads as text, a reply loses what it quotes, and `text` says what of the message is sent."""
    html = b"Subject: Parcel\r\nContent-Type: text/html\r\n\r\n<p>It <b>arrived</b></p><blockquote>when?</blockquote>"
    message = make_message("+4930123456@sms", body=html)
    assert plan(message)[0].note.words == "It arrived"
    chosen = SmsWordsOptions(subject="prefix", keep_quotes=True)
    assert plan(message, make_options(text=chosen))[0].note.words == "Parcel: It arrived\n> when?"


def test_our_id_goes_into_the_url_for_reports():
    """Whatever query the URL has already."""
    message = make_message("+4930123456@sms", body=text("hi"))
    note = plan(message)[0].note
    assert note.callback(None) is None
    assert note.callback("https://a.test/r") == f"https://a.test/r?kumo_id={message.id.hex()}"
    assert note.callback("https://a.test/r?k=1") == f"https://a.test/r?k=1&kumo_id={message.id.hex()}"


@pytest.mark.parametrize(
    ("written", "sent"),
    [("+49 (170) 123-4567", "+491701234567"), ("555 00", "55500"), ("A 1-2", "A 1-2"), ("+", "+"), ("١٢٣ ٤", "١٢٣ ٤")],
)
def test_a_sender_may_be_written_as_people_write_numbers(written, sent):
    """It is a number all the same; what has letters is a name and stays as it is."""
    assert (
        plan(make_message("+4930123456@sms", body=text("hi"), meta={"from": {"sms": written}}))[0].note.sender == sent
    )
    assert plan(make_message("+4930123456@sms", body=text("hi")), make_options(sender=written))[0].note.sender == sent


def test_a_sender_cannot_break_a_request():
    """Whatever a header or a policy says: no line break gets into what is sent."""
    message = make_message("+4930123456@sms", body=text("hi"), meta={"from": {"sms": "SHOP\r\nX-Kannel-To: 1"}})
    assert plan(message)[0].note.sender == "SHOP X-Kannel-To: 1"


def test_numbers_without_their_plus_and_names_as_they_are():
    """For gateways that take digits only."""
    assert [digits(one) for one in ("+49 30 123", "12345", "SHOP", "Shop 24")] == [
        "4930123",
        "12345",
        "SHOP",
        "Shop 24",
    ]


def test_no_gateway_tries_longer_than_we_would():
    """The message's expiry and the option bound it, within what the gateway takes."""
    message = make_message("+4930123456@sms", body=text("hi"))
    created = message.created
    text_of = lambda: plan(message, now=created + 100)[0].note  # noqa: E731
    assert text_of().validity(None, 5, 600) is None
    assert text_of().validity(604800.0, 5, 600) == 600
    assert text_of().validity(1.0, 5, 600) == 5
    message.max_age = 400.5  # floats around 2e9 have six places behind the point
    assert text_of().validity(None, 5, 600) == 300
    assert text_of().validity(604800.0, 5, 600) == 300
    assert text_of().validity(60.0, 5, 600) == 60
    assert text_of().validity(None, 1, 2880, unit=60) == 5
    message.max_age = 86400.0
    assert text_of().validity(None, 5, 600) is None


def test_a_sender_that_the_message_chose_holds_up_nobody_else():
    """A user's bad sender bounces the user's message; the operator's bad sender makes everything wait."""
    reply = HttpResponse(400, (), b"")
    judge = Judge(Peer("gw", "gw", "HTTP"), (Rule(Fault.ACCOUNT, code="21606"),), 300.0, lambda: 0.0)
    body = text("hi")
    for meta, verdict, scope in (
        ({"from": {"sms": "EVIL"}}, Verdict.PERMANENT, Scope.MESSAGE),
        ({}, Verdict.TRANSIENT, Scope.SOURCE),
    ):
        (call,) = plan(make_message("+4930123456@sms", body=body, meta=meta), make_options(sender="SHOP"))
        (outcome,) = refused(judge, reply, call, "not your sender", 21606, senders=("21606",))
        assert (outcome.verdict, outcome.scope) == (verdict, scope)
        assert outcome.response.content == "400 Bad Request: 21606 not your sender"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"default_region": "Germany"}, "default_region"),
        ({"max_segments": 0}, "max_segments"),
        ({"sendr": "x"}, "sender"),
        ({"timeout": "0s"}, "longer than 0s"),
        ({"base_url": "api.example.com"}, "base_url' is not an http or https URL"),
        ({"base_url": "https://api.example.com/?a=1"}, "base_url' must not have a query"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(wrong, says):
    """When the policy is read, with the option's name."""
    given = {"account_sid": "AC1", "auth_token": {"key_data": "x"}, **wrong}
    with pytest.raises(ConfigError, match=says):
        protocol({"twilio": given}, "test")


GATEWAYS = (
    "aws_sms",
    "bird",
    "brevo_sms",
    "infobip",
    "plivo",
    "sinch",
    "telnyx",
    "twilio",
    "vonage",
    "vonage_messages",
)


@pytest.mark.parametrize("name", GATEWAYS)
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>"])
def test_a_yes_without_an_id_is_no_yes(name, body):
    """A proxy's page under 200, say: nobody knows whether the text was taken, and `on_unknown` decides."""
    case, kind = import_module(f"support.apicases.{name}").CASE, load(name)
    maker = kind.__new__(kind)
    maker.judge = lambda *_: JUDGE
    dialect = maker.dialect(case.options("https://gw.test", LiteralKey(b"x")), JUDGE.peer)
    (call,) = dialect.plan([make_message("+4930123456@sms", body=text("hi"))], 0.0)
    with pytest.raises(Unreadable):
        dialect.classify(call, HttpResponse(200, (), body))

"""Messages as SMS, notifications and chat messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.config.structure import structure
from kumotwist.config.translate import ChatTextOptions, Dialect, PushTextOptions, SmsTextOptions
from kumotwist.core.errors import ConfigError
from kumotwist.proto.mime import builder
from kumotwist.proto.mime.parts import Address, Decomposed, decompose
from kumotwist.proto.sms.coding import Coding
from kumotwist.proto.translate.chat import as_chat
from kumotwist.proto.translate.dialects import MARKUPS
from kumotwist.proto.translate.push import as_push
from kumotwist.proto.translate.shorten import octets, shorten
from kumotwist.proto.translate.sms import as_sms

REPLY = "Yes, agreed.\n\nSee https://example.com/terms for all.\n\nOn 5 Jan, Ann wrote:\n> Shall we?\n-- \nBob\n"


def parts(text: str = "", html: str = "", subject: str = "") -> Decomposed:
    return Decomposed((), from_=(Address("Ann", "a@example.com"),), subject=subject, text=text, html=html)


# -- SMS -------------------------------------------------------------------------------------------


def test_a_reply_as_sms() -> None:
    """What was written, in one segment, without blank lines."""
    sms = as_sms(parts(REPLY, subject="Re: offer"), SmsTextOptions())
    assert sms.text == "Yes, agreed.\nSee https://example.com/terms for all."
    assert (sms.segments, sms.coding, sms.is_cut) == (1, Coding.GSM, False)


def test_quotes_and_signature_can_be_kept() -> None:
    """For whom a reply is not a reply."""
    sms = as_sms(parts(REPLY), SmsTextOptions(keep_quotes=True, keep_signature=True))
    assert sms.text.endswith("On 5 Jan, Ann wrote:\n> Shall we?\n--\nBob")


@pytest.mark.parametrize(
    ("subject", "text", "choice", "sent"),
    [
        ("Alarm", "Door open", "leave_out", "Door open"),
        ("Alarm", "Door open", "prefix", "Alarm: Door open"),
        ("Alarm", "Door open", "only", "Alarm"),
        ("Alarm", "Alarm at the door", "prefix", "Alarm at the door"),
        ("Alarm", "", "leave_out", "Alarm"),
        ("Alarm", "", "prefix", "Alarm"),
        ("", "Door open", "only", "Door open"),
        ("", "", "prefix", ""),
    ],
)
def test_the_subject(subject: str, text: str, choice: str, sent: str) -> None:
    """Chosen by option; a message with a subject only is sent as that."""
    assert as_sms(parts(text, subject=subject), structure(SmsTextOptions, {"subject": choice})).text == sent


def test_html_is_read_when_there_is_no_text() -> None:
    """Or when it is preferred."""
    both = parts("text", "<p>html</p>")
    assert as_sms(parts(" \n", "<p>html</p>"), SmsTextOptions()).text == "html"
    assert as_sms(both, SmsTextOptions()).text == "text"
    assert as_sms(both, SmsTextOptions(prefer="html")).text == "html"


@pytest.mark.parametrize(
    "hint",
    [
        "View this email in your browser",
        "Your mail program does not support HTML.",
        "This is an HTML email. Please use a capable reader:\nhttps://shop.test/1",
        "Newsletter im Browser ansehen: https://shop.test/1",
        "Si ce message ne s'affiche pas, ouvrez-le dans votre navigateur",
    ],
)
def test_a_plain_text_that_only_points_to_the_html_is_not_sent(hint: str) -> None:
    """Newsletters have such; what is meant is in the HTML."""
    assert as_sms(parts(hint, "<p>Tea is cheap today.</p>"), SmsTextOptions()).text == "Tea is cheap today."
    assert as_sms(parts(hint), SmsTextOptions()).text.startswith(hint[:20])


@pytest.mark.parametrize(
    "text", ["The browser crashed again", "see you at 5, online or not", "x" * 400 + " view in browser"]
)
def test_a_text_that_says_something_is_sent(text: str) -> None:
    """A word such as browser makes no hint of it."""
    assert as_sms(parts(text, "<p>html</p>"), SmsTextOptions(max_segments=9)).text == text


def test_a_long_text_is_cut_at_a_word_and_a_link_never() -> None:
    """The limit holds, and half a link leads nowhere."""
    sms = as_sms(parts("word " * 100), SmsTextOptions(max_segments=1))
    assert (sms.segments, sms.is_cut) == (1, True)
    assert sms.text.endswith("word...")
    link = as_sms(parts("x" * 140 + " https://example.com/long/address"), SmsTextOptions(max_segments=1))
    assert "http" not in link.text


def test_transliteration_is_asked_for() -> None:
    """A typographic quote costs a segment in UCS-2; by default nothing is changed."""
    text = "It\u2019s " + "here " * 20
    assert as_sms(parts(text), SmsTextOptions()).coding is Coding.UCS2
    sms = as_sms(parts(text), SmsTextOptions(transliterate=True))
    assert (sms.coding, sms.segments) == (Coding.GSM, 1)
    assert sms.text.startswith("It's")


def test_a_wrong_option_is_named() -> None:
    """As everywhere."""
    with pytest.raises(ConfigError, match="'max_segments' must be from 1 to 255, got 0"):
        structure(SmsTextOptions, {"max_segments": 0}, "message:as_sms")
    with pytest.raises(ConfigError, match="did you mean 'max_segments'"):
        structure(SmsTextOptions, {"max_segment": 1}, "message:as_sms")


# -- push ------------------------------------------------------------------------------------------


def test_a_notification() -> None:
    """Title from the subject, the written text, and the application's data."""
    found = as_push(parts(REPLY, subject="Re: offer"), {"data": {"order": 7}}, PushTextOptions())
    assert (found.title, found.data) == ("Re: offer", {"order": 7})
    assert found.body == "Yes, agreed.\nSee https://example.com/terms for all."
    assert as_push(parts("x"), {}, PushTextOptions()).title == "Ann"
    assert as_push(parts("x", subject="s"), {}, PushTextOptions(title="News")).title == "News"
    assert as_push(parts("x"), {"extra": {"a": "b"}}, PushTextOptions(data_meta="extra")).data == {"a": "b"}


def test_bounds_count_octets() -> None:
    """Apple and Google count octets; a character is never cut in half."""
    found = as_push(parts("ö" * 600, subject="ü" * 100), {}, PushTextOptions(max_body=101, max_title=50))
    assert octets(found.body) <= 101
    assert octets(found.title) <= 50
    assert found.body.endswith("ö…")


def test_the_preview_text_may_be_the_body() -> None:
    """When there is one."""
    html = '<div style="display:none">Sale ends today</div><p>Dear customer'
    assert as_push(parts(html=html), {}, PushTextOptions(preheader=True)).body == "Sale ends today"
    assert as_push(parts(html="<p>Dear"), {}, PushTextOptions(preheader=True)).body == "Dear"


def test_data_must_be_an_object() -> None:
    """Said before a provider says it."""
    with pytest.raises(ValueError, match="meta 'data' must be an object"):
        as_push(parts("x"), {"data": "text"}, PushTextOptions())


# -- chat ------------------------------------------------------------------------------------------

HTML = (
    '<p>All <b>bold </b>&amp; <i>it_alic</i>: <a href="https://e.example/a_b?c=(1)">terms [1]</a> https://e.example/x_y'
    "</p><ul><li>one</li></ul><blockquote>quoted</blockquote>"
)


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        (
            "plain",
            "S*\nAll bold & it_alic: terms [1] (https://e.example/a_b?c=(1)) https://e.example/x_y\n\n- one\n\n"
            "> quoted",
        ),
        (
            "slack",
            "*S**\nAll *bold* &amp; _it_alic_: <https://e.example/a_b?c=(1)|terms [1]> https://e.example/x_y"
            "\n\n• one\n\n> quoted",
        ),
        (
            "discord",
            "**S\\***\nAll **bold** & *it\\_alic*: [terms \\[1\\]](https://e.example/a_b?c=%281%29) https://e.example/x_y"
            "\n\n• one\n\n> quoted",
        ),
        (
            "telegram",
            "*S\\**\nAll *bold* & _it\\_alic_: [terms \\[1\\]](https://e.example/a_b?c=(1\\)) "
            "https://e\\.example/x\\_y\n\n• one\n\n>quoted",
        ),
        (
            "teams",
            "**S\\***\n\nAll **bold** & _it\\_alic_: [terms \\[1\\]](https://e.example/a_b?c=%281%29) "
            "https://e.example/x_y\n\n• one\n\n> quoted",
        ),
    ],
)
def test_each_services_markup(dialect: Dialect, text: str) -> None:
    """Bold, italics and links as it writes them, everything else escaped."""
    assert as_chat(parts(html=HTML, subject="S*"), ChatTextOptions(dialect=dialect, keep_quotes=True)) == text


def test_nobody_is_called_and_no_link_is_forged() -> None:
    """A stranger's mail cannot notify a whole channel or hide where a link leads."""
    slack = as_chat(parts("<!channel> <https://evil.example|bank>"), ChatTextOptions(dialect="slack"))
    assert slack == "&lt;!channel&gt; &lt;https://evil.example|bank&gt;"
    discord = as_chat(parts("[bank](https://evil.example) <@1>"), ChatTextOptions(dialect="discord"))
    assert discord.startswith("\\[bank\\](")
    assert "\\<@1\\>" in discord


def test_a_chat_message_has_a_limit() -> None:
    """The service's, or a smaller one; whole lines, then a cut one."""
    for dialect, markup in MARKUPS.items():
        text = as_chat(parts("_a.b " * 20_000), ChatTextOptions(dialect=dialect))
        assert markup.limit // 2 < markup.size(text) <= markup.limit
        assert text.endswith("…")
    short = as_chat(parts("one\ntwo three four five six seven"), ChatTextOptions(max_characters=30, dialect="telegram"))
    assert short == "one\ntwo three four five six…"


def test_the_subject_may_be_left_out() -> None:
    """Where the channel shows it otherwise."""
    assert as_chat(parts("text", subject="S"), ChatTextOptions(subject=False)) == "text"
    assert as_chat(parts("S\ntext", subject="S"), ChatTextOptions(dialect="slack")) == "S\ntext"
    assert as_chat(parts(), ChatTextOptions()) == ""


# -- all -------------------------------------------------------------------------------------------


@given(st.text(max_size=300), st.integers(0, 100))
def test_shortening_keeps_the_limit(text: str, limit: int) -> None:
    """For any text and limit."""
    found = shorten(text, limit, octets)
    assert octets(found) <= limit
    assert found == text or found == "" or found.endswith("…")


@pytest.mark.parametrize(
    ("text", "limit", "short"),
    [
        ("one two three", 13, "one two three"),
        ("one two three", 12, "one two…"),
        ("see https://e.example/abc", 24, "see…"),
        ("terms (https://e.example/abc)", 24, "terms…"),
        ("日本語日本語日本語", 15, "日本語日…"),
        ("e\u0301e\u0301e\u0301", 8, "e\u0301…"),
        ("👩‍👩‍👧 family", 10, "…"),
        ("abc", 2, ""),
    ],
)
def test_where_a_text_is_cut(text: str, limit: int, short: str) -> None:
    """Between words, before a link, never within what a reader sees as one character."""
    assert shorten(text, limit, octets) == short


@given(st.binary(max_size=300), st.sampled_from(list(MARKUPS)))
def test_any_message_gives_texts(body: bytes, dialect: Dialect) -> None:
    """From the octets of a stranger to what goes out."""
    found = decompose(b"Subject: x\r\nContent-Type: text/html\r\n\r\n" + body)
    assert isinstance(found, Decomposed)
    as_sms(found, SmsTextOptions()).text.encode()
    as_push(found, {}, PushTextOptions()).body.encode()
    as_chat(found, ChatTextOptions(dialect=dialect)).encode()


def test_a_whole_message() -> None:
    """From MIME to the handset."""
    root = builder.assemble([builder.text_part("Grüße", "plain"), builder.text_part("<b>x", "html")], [], [])
    found = decompose(builder.message([b"Subject: Hi\r\n"], root))
    assert isinstance(found, Decomposed)
    assert as_sms(found, SmsTextOptions(subject="prefix")).text == "Hi: Grüße"

"""A message as a notification: where its address stands, what it may choose, how its text is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes_egress import make_message

from kumotwist.core.schedule import Schedule
from kumotwist.egress.push.notification import (
    device_token,
    expiry_of,
    fitted,
    notification_of,
    web_push,
    wishes,
)

BODY = b"From: shop@src.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nIt arrives tomorrow.\r\n"


def test_subject_text_and_data_make_a_notification():
    """The subject is the title, the text the body, meta data what the application gets."""
    note = notification_of(make_message(body=BODY, meta={"data": {"order": 4711}}))
    assert (note.title, note.body, note.data) == ("Grüße", "It arrives tomorrow.", {"order": 4711})


def test_data_that_is_no_object_is_the_messages_fault():
    """An application expects names and values."""
    with pytest.raises(ValueError, match="meta data is not a JSON object"):
        notification_of(make_message(meta={"data": [1]}))


@pytest.mark.parametrize(
    ("meta", "to_meta"),
    [
        ({"to": {"device_token": "abc", "platform": "apns"}}, None),
        ({"to": "abc"}, None),
        ({"phone_token": "abc"}, "phone_token"),
        ({"phone_token": {"device_token": "abc"}}, "phone_token"),
    ],
)
def test_the_token_stands_in_meta(meta, to_meta):
    """Where the send API puts it, or where the policy says that it is."""
    assert device_token(make_message(meta=meta), to_meta) == "abc"


@pytest.mark.parametrize("value", [None, "", {}, 7, ["abc"], "a\r\nb", "é", "x" * 4097, {"device_token": None}])
def test_what_is_no_token_is_refused(value):
    """CR and LF, other alphabets, other types, endless ones: none of it gets into a path."""
    with pytest.raises(ValueError, match="there is no device token"):
        device_token(make_message(meta={"to": value}), None)


def test_a_subscription_is_found_likewise():
    """Below `web_push`, or at the place that the policy names."""
    assert web_push(make_message(meta={"to": {"web_push": {"endpoint": "x"}}}), None) == {"endpoint": "x"}
    assert web_push(make_message(meta={"sub": {"endpoint": "x"}}), "sub") == {"endpoint": "x"}


def test_a_message_may_choose_what_it_may_choose():
    """Known names with values of their type; a mistake costs the message, with a reason that helps."""
    known = {"badge": int, "sound": str, "mutable_content": bool}
    assert wishes(make_message(meta={"push": {"badge": 0, "sound": "ping"}}), known) == {"badge": 0, "sound": "ping"}
    assert wishes(make_message(), known) == {}
    for wrong, text in [
        ([], "not a JSON object"),
        ({"bagde": 1}, "'bagde' cannot be chosen for one message; these can: badge"),
        ({"badge": "1"}, "badge has a value of the wrong type"),
        ({"badge": True}, "badge has a value of the wrong type"),
        ({"mutable_content": 1}, "mutable_content has a value of the wrong type"),
    ]:
        with pytest.raises(ValueError, match=text):
            wishes(make_message(meta={"push": wrong}), known)


def test_the_sooner_end_holds():
    """The message's own expiry and the channel's ttl."""
    message = make_message()
    assert expiry_of(message, None) is None
    assert expiry_of(message, 60.0) == message.created + 60
    message.schedule = Schedule(expires=message.created + 30)
    assert expiry_of(message, None) == expiry_of(message, 60.0) == message.created + 30
    assert expiry_of(message, 10.0) == message.created + 10


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.integers(20, 200))
def test_a_text_is_cut_as_little_as_needed(text, limit):
    """It fits, it begins as the text does, and says by a mark that there was more."""
    octets = fitted(lambda part: b"head" + part.encode(), text, limit)
    assert len(octets) <= limit
    cut = octets[4:].decode()
    if cut != text:
        assert len(text.encode()) + 4 > limit
        assert cut == "" or (cut.endswith("…") and text.startswith(cut[:-1]))


def test_a_cut_is_at_a_words_end_and_never_inside_a_character():
    """People read it: no half words where a space is near, no flag or accent torn apart."""

    def cut(text, limit):
        return fitted(str.encode, text, limit).decode()

    assert cut("one two three four", 12) == "one two…"
    assert cut("x" * 50, 13) == "x" * 10 + "…"
    assert cut("e\u0301" * 10, 8) == "e\u0301…"
    assert cut("👍🏽" * 3, 12) == "👍🏽…"


def test_what_does_not_fit_without_text_is_refused():
    """The application's data is never cut: it would be something else."""
    with pytest.raises(ValueError, match="50 octets without any text"):
        fitted(lambda part: bytes(50) + part.encode(), "text", 49)

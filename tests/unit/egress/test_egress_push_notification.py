"""A message as a notification: what it says, what it may choose, how its text is cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes_egress import make_message

from kumotwist.config.translate import PushTextOptions
from kumotwist.core.schedule import Schedule
from kumotwist.egress.push.notification import (
    expiry_of,
    fitted,
    notification_of,
    wishes,
)

BODY = b"From: shop@src.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nIt arrives tomorrow.\r\n"


def test_subject_text_and_data_make_a_notification():
    """The subject is the title, the text the body, meta data what the application gets."""
    note = notification_of(make_message(body=BODY, meta={"data": {"order": 4711}}), PushTextOptions())
    assert (note.title, note.body, note.data) == ("Grüße", "It arrives tomorrow.", {"order": 4711})


def test_data_that_is_no_object_is_the_messages_fault():
    """An application expects names and values."""
    with pytest.raises(ValueError, match="meta 'data' must be an object"):
        notification_of(make_message(meta={"data": [1]}), PushTextOptions())


def test_a_message_may_choose_what_it_may_choose():
    """Known names with values of their type; a mistake costs the message, with a reason that helps."""
    known = {"badge": int, "sound": str, "mutable_content": bool}
    assert wishes(make_message(meta={"push": {"badge": 0, "sound": "ping"}}), known) == {"badge": 0, "sound": "ping"}
    assert wishes(make_message(), known) == {}
    for wrong, text in [
        ([], "not an object"),
        ({"bagde": 1}, "'bagde' cannot be chosen for one message; these can: badge"),
        ({"badge": "1"}, "badge has a value of the wrong type"),
        ({"badge": True}, "badge has a value of the wrong type"),
        ({"mutable_content": 1}, "mutable_content has a value of the wrong type"),
    ]:
        with pytest.raises(ValueError, match=text):
            wishes(make_message(meta={"push": wrong}), known)


def test_the_sooner_end_holds():
    """The queue's max_age, the message's own expiry, the channel's ttl."""
    message = make_message()
    assert expiry_of(message, None) is None
    assert expiry_of(message, 60.0) == message.created + 60
    message.max_age = 20.0
    assert expiry_of(message, None) == expiry_of(message, 60.0) == message.created + 20
    message.schedule = Schedule(expires=message.created + 30)
    assert expiry_of(message, None) == expiry_of(message, 60.0) == message.created + 30
    assert expiry_of(message, 10.0) == message.created + 10


@given(st.text(max_size=300), st.integers(20, 400))
def test_a_text_is_cut_to_fit(text, limit):
    """However its characters are written in JSON, it fits, begins as the text does, and shows that there was more."""
    text = text.encode("utf-8", "replace").decode()
    octets = fitted(lambda part: json.dumps([part]).encode(), text, limit)
    assert len(octets) <= limit
    (cut,) = json.loads(octets)
    if cut != text:
        assert len(json.dumps([text])) > limit
        assert cut == "" or (cut.endswith("…") and text.startswith(cut[:-1]))


def test_what_does_not_fit_without_text_is_refused():
    """The application's data is never cut: it would be something else."""
    with pytest.raises(ValueError, match="50 octets without any text"):
        fitted(lambda part: bytes(50) + part.encode(), "text", 49)

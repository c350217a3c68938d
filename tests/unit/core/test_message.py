"""Messages, responses and what they say of themselves."""

import pytest

from kumotwist.core.address import NULL_SENDER, parse_address
from kumotwist.core.ids import IdGenerator
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.response import EnhancedCode, Response, internal


def message(**meta: object) -> Message:
    fields: JsonObject = dict(meta)  # type: ignore[arg-type]
    return Message(IdGenerator(lambda: 1.0)(), NULL_SENDER, (parse_address("u@Dest.EXAMPLE"),), fields, b"x")


@pytest.mark.parametrize(
    ("meta", "name"),
    [
        ({}, "dest.example"),
        ({"tenant": "T", "campaign": "c"}, "c:T@dest.example"),
        ({"routing_domain": "r"}, "dest.example!r"),
        ({"queue": "Verbatim", "tenant": "t"}, "Verbatim"),
        ({"queue": None, "tenant": None}, "dest.example"),
    ],
)
def test_the_queue_name(meta: JsonObject, name: str) -> None:
    """Only the domain of the recipient is lower-cased."""
    assert message(**meta).queue_name() == name


@pytest.mark.parametrize("key", ["queue", "tenant", "campaign", "routing_domain"])
def test_a_queue_key_must_be_text(key: str) -> None:
    """Policy hears which key it set wrongly."""
    with pytest.raises(ValueError, match=key):
        message(**{key: 5}).queue_name()


def test_editing_marks_what_the_spool_lacks() -> None:
    """Meta and body are written separately."""
    one = message()
    one.is_meta_dirty = one.is_body_dirty = False
    one.set_meta("x_a", 1)
    assert (one.is_meta_dirty, one.is_body_dirty) == (True, False)
    one.set_body(b"other")
    assert not one.is_spooled


def test_a_new_body_is_searched_for_dots_again() -> None:
    """What intake knew of the old body says nothing of what policy put in its place."""
    one = message()
    one.has_dots = False
    one.set_body(b".\r\n")
    assert one.has_dots


def test_a_message_never_prints_its_body() -> None:
    """Bodies stay out of logs."""
    one = message()
    one.set_body(b"very private")
    assert "private" not in repr(one)


def test_responses_split_the_enhanced_code() -> None:
    """RFC 3463: the code is a field of its own in records."""
    response = Response.parse(550, "5.1.1 No such user\nreally")
    assert response.enhanced == EnhancedCode(5, 1, 1)
    assert response.to_line() == "550 5.1.1 No such user\\r\\nreally"
    assert Response.parse(250, "OK").enhanced is None
    assert internal(451, "4.4.4 queue is suspended").to_line() == "451 4.4.4 KumoMTA internal: queue is suspended"

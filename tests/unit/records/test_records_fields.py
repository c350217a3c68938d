"""Which headers and metadata go into a record."""

from hypothesis import given
from hypothesis import strategies as st

from kumotwist.records.fields import Selection

BODY = (
    b"Received: from a\r\n\tby b\r\n"
    b"X-Tag: one\r\n"
    b"SUBJECT: =?utf-8?q?h=C3=A9llo?= there\r\n"
    b"x-tag: two\r\n"
    b"X-Other : 3\r\n"
    b"X-Empty:\r\n"
    b"\r\nX-Body: no\r\n"
)


def test_names_match_in_any_case_and_keep_the_message_s_spelling():
    """`subject` finds `SUBJECT`; encoded words are decoded."""
    assert Selection(("subject",)).of_headers(BODY) == {"SUBJECT": "héllo there"}


def test_several_instances_make_a_list():
    """Both tags are there, under the spelling of the first."""
    assert Selection(("x-TAG", "nope")).of_headers(BODY) == {"X-Tag": ["one", "two"]}


def test_a_star_matches_any_rest():
    """`X-*` takes all of them, and only headers."""
    assert Selection(("X-*", "received")).of_headers(BODY) == {
        "Received": "from a\tby b",
        "X-Tag": ["one", "two"],
        "X-Other": "3",
        "X-Empty": "",
    }
    assert len(Selection(("*",)).of_headers(BODY)) == 5


def test_meta_is_chosen_by_name_and_beginning():
    """Null is left out; a name that is not there too."""
    meta = {"tenant": "t", "x_a": 1, "x_b": None, "other": {"deep": True}}
    assert Selection(("tenant", "missing", "x_b")).of_meta(meta) == {"tenant": "t"}
    assert Selection(("x_*", "other")).of_meta(meta) == {"x_a": 1, "other": {"deep": True}}
    assert Selection(("*",)).of_meta(meta) == {"tenant": "t", "x_a": 1, "other": {"deep": True}}
    assert not Selection(())


@given(st.binary(max_size=300))
def test_any_message_can_be_searched(body):
    """Whatever came in as a message, its record can be written."""
    for value in Selection(("*",)).of_headers(b"Subject: " + body).values():
        for text in value if isinstance(value, list) else [value]:
            text.encode()

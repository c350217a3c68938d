"""The course of a fallback on disk: what was written is read, by this version and of the one before fallbacks."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes_egress import make_message

from kumotwist.core.course import MAX_TEXT, Course, Failure
from kumotwist.core.errors import SpoolCorrupt
from kumotwist.core.ids import SpoolId
from kumotwist.spool.codec import decode, encode

IDS = st.binary(min_size=16, max_size=16).map(SpoolId)
COURSES = st.builds(
    Course,
    table=st.text(),
    stage=st.none() | st.text(),
    since=st.floats(0, 4e9),
    deadline=st.none() | st.floats(0, 4e9),
    until=st.sampled_from(["", "handed_over", "delivered"]),
    is_handed_over=st.booleans(),
    failure=st.none() | st.builds(Failure, st.text(max_size=20), st.text(max_size=MAX_TEXT)),
    origin=st.none() | IDS,
    is_released=st.booleans(),
    beside=st.lists(IDS, max_size=3).map(tuple),
)


@given(COURSES)
def test_a_course_is_kept(course):
    """With everything that it says."""
    message = make_message("u@dest.test")
    message.set_course(course)
    assert decode(message.id, encode(message)).course == course


def test_a_message_without_one_is_stored_as_ever():
    """So a spool of before is read, and one without fallbacks can be read by what was before."""
    message = make_message("u@dest.test")
    assert len(msgspec.msgpack.decode(encode(message))) == 7
    assert decode(message.id, encode(message)).course is None


def test_a_course_that_is_none_is_damage():
    """And is told as such."""
    message = make_message("u@dest.test")
    stored = [*msgspec.msgpack.decode(encode(message)), ["mail"]]
    with pytest.raises(SpoolCorrupt):
        decode(message.id, msgspec.msgpack.encode(stored))

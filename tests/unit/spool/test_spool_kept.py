"""The routes on which a message waits for room, on disk."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes_egress import make_message

from kumotwist.core.course import Course
from kumotwist.core.errors import SpoolCorrupt
from kumotwist.core.way import Kept
from kumotwist.spool.codec import decode, encode

KEPT = st.builds(
    Kept, table=st.text(), routes=st.lists(st.text(), min_size=1, max_size=4).map(tuple), share=st.floats(0, 1)
)
COURSES = st.none() | st.builds(Course, table=st.text(), since=st.floats(0, 4e9))


@given(KEPT, COURSES)
def test_a_restart_finds_what_a_message_waits_for(kept, course):
    """Whether it is on a fallback or not."""
    message = make_message("u@dest.test")
    message.set_kept(kept)
    message.set_course(course)
    found = decode(message.id, encode(message))
    assert (found.kept, found.course) == (kept, course)


def test_a_message_that_is_tried_by_any_route_is_stored_as_ever():
    """So a spool of before is read, and by what was before."""
    message = make_message("u@dest.test")
    message.set_kept(Kept("bulk", ("a",), 0.5))
    message.set_kept(None)
    assert len(msgspec.msgpack.decode(encode(message))) == 7
    assert decode(message.id, encode(message)).kept is None


@pytest.mark.parametrize("damaged", [["bulk"], ["bulk", [], 0.5], ["bulk", "a", 0.5]])
def test_what_says_nothing_of_a_route_is_damage(damaged):
    """And is told as such."""
    message = make_message("u@dest.test")
    stored = [*msgspec.msgpack.decode(encode(message)), None, damaged]
    with pytest.raises(SpoolCorrupt):
        decode(message.id, msgspec.msgpack.encode(stored))

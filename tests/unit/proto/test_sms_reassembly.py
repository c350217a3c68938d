"""Long texts that come in: whole, whichever order their parts take, and bounded when they do not come."""

from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.sms.reassembly import MAX_WAITING, PATIENCE, Reassembly
from kumotwist.proto.sms.udh import Concatenation


@given(st.lists(st.binary(max_size=10), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_any_order_makes_the_same_text(parts, random):
    """The last part that was missing completes it, and repeated parts do no harm."""
    order = list(enumerate(parts, 1)) * 2
    random.shuffle(order)
    texts, seen = Reassembly(), set()
    for number, octets in order:
        whole = texts.add("key", Concatenation(7, len(parts), number), octets, 0.0)
        seen.add(number)
        if len(seen) == len(parts):
            assert whole is not None
            assert (whole.parts, whole.missing) == (tuple(parts), 0)
            return
        assert whole is None


def test_senders_and_references_are_kept_apart():
    """Two people who write at once with the same reference."""
    texts = Reassembly()
    texts.add("one", Concatenation(7, 2, 1), b"a", 0.0)
    assert texts.add("two", Concatenation(7, 2, 2), b"b", 0.0) is None
    assert texts.add("one", Concatenation(8, 2, 2), b"b", 0.0) is None
    assert texts.add("one", Concatenation(7, 2, 2), b"b", 0.0).parts == (b"a", b"b")


def test_a_part_that_never_comes_is_not_waited_for_for_ever():
    """After a while the text is handed on with a gap."""
    texts = Reassembly()
    texts.add("key", Concatenation(7, 3, 3), b"c", 0.0)
    assert texts.next_overdue() == PATIENCE
    assert not texts.overdue(PATIENCE - 1)
    ((key, whole),) = texts.overdue(PATIENCE)
    assert (key, whole.parts, whole.missing) == ("key", (None, None, b"c"), 2)
    assert texts.next_overdue() is None


def test_a_flood_of_first_parts_is_bounded():
    """The oldest make room."""
    texts = Reassembly()
    for number in range(MAX_WAITING + 3):
        texts.add(number, Concatenation(7, 2, 1), b"a", 0.0)
    assert [key for key, _ in texts.overdue(1.0)] == [0, 1, 2]

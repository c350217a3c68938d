"""Receipt events."""

from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.receipt import MAX_FACTS, MAX_TEXT, ReceiptEvent, ReceiptState


@given(st.text(), st.text())
def test_no_field_can_break_a_log_line(text, remote_id):
    """CR, LF, NUL and their kin never get out of what a provider sent."""
    event = ReceiptEvent(channel="x", state=ReceiptState.DELIVERED, text=text, remote_id=remote_id, facts={text: text})
    for shown in (event.text, event.remote_id, *event.facts, *event.facts.values()):
        assert not any(ord(one) < 32 or 0x7F <= ord(one) < 0xA0 or one in "\u2028\u2029" for one in shown)
        shown.encode()


def test_what_is_kept_is_bounded():
    """A provider cannot fill the logs with one event."""
    facts = {f"fact{number}": "x" * 10_000 for number in range(1000)} | {"table": {"a": 1}}
    event = ReceiptEvent(channel="x", state=ReceiptState.FAILED, text="y" * 1_000_000, facts=facts)
    assert len(event.text) == MAX_TEXT
    assert len(event.facts) == MAX_FACTS
    assert sum(map(len, event.facts.values())) < 20_000


def test_what_ends_a_delivery():
    """Delivered, failed and expired are the end; an open or a complaint is not about getting there."""
    final = {state.value for state in ReceiptState if state.is_final}
    assert final == {"delivered", "failed", "expired"}

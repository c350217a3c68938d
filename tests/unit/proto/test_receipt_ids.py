"""Providers' names for messages, however they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.receipts.ids import canonical, doubtful_forms, forms


@pytest.mark.parametrize(
    ("handed_over", "reported"),
    [
        ("SM1a2B", "sm1A2b"),
        ("20130503182626.18666.16540@example.org", "<20130503182626.18666.16540@example.org>"),
        ("00012AF", "12af"),
        ("0", "000"),
        (" abc ", "abc"),
    ],
)
def test_spellings_that_mean_the_same(handed_over, reported):
    """Case, leading zeros, angle brackets and blanks make no difference."""
    assert canonical(handed_over) == canonical(reported)


@given(st.text())
def test_canonical_is_stable(text):
    """A canonical id is its own canonical form."""
    assert canonical(canonical(text)) == canonical(text)


@pytest.mark.parametrize(
    ("message_id", "event_id"),
    [
        ("14c5d75ce93.dfd.64b469", "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0"),
        ("kuLkwA7dT5uh8pQOG7NRlQ", "kuLkwA7dT5uh8pQOG7NRlQ.recvd-7b8c9d-2-64AA-1C.0"),
    ],
)
def test_what_sendgrid_appends(message_id, event_id):
    """SendGrid's sg_message_id begins with the X-Message-Id of the response."""
    assert canonical(message_id) in forms("sendgrid", event_id)
    assert forms("postmark", event_id) == (canonical(event_id),)


def test_numbers_in_the_other_base():
    """An SMS centre that answers in hex and reports in decimal, or the other way round."""
    assert canonical("1A2B") in doubtful_forms("smpp", "6699")
    assert "6699" in doubtful_forms("smpp", "1A2B")
    assert doubtful_forms("twilio", "6699") == ()
    assert doubtful_forms("smpp", "ab" * 32) == ()
    assert doubtful_forms("smpp", "no-number") == ()

"""Phone numbers become E.164."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.phone import e164, is_region


@pytest.mark.parametrize(
    ("written", "region", "number"),
    [
        ("+15551234567", None, "+15551234567"),
        ("+1 (555) 123-4567", None, "+15551234567"),
        ("(555) 123-4567", "US", "+15551234567"),
        ("0151 23456789", "DE", "+4915123456789"),
        ("+44 20 7946 0958", "US", "+442079460958"),
        ("0049 151 23456789", "DE", "+4915123456789"),
        ("+39 06 698 1234", None, "+39066981234"),
        (" +8613800138000 ", None, "+8613800138000"),
    ],
)
def test_what_people_write(written, region, number) -> None:
    """Separators go, a national number gets its country code, Italy keeps its zero."""
    assert e164(written, region) == number


@pytest.mark.parametrize(
    ("written", "region", "why"),
    [
        ("5551234567", None, "no default region"),
        ("12345", "US", "too short"),
        ("+1555123456789012", None, "too long"),
        ("+999 123 4567", None, "could not interpret numbers after plus-sign"),
        ("1234567", "US", "the area code is missing"),
        ("+15551234567\r\nX: y", None, "is not a phone number"),
        ("+15551234567\n", None, "is not a phone number"),
        ("call +15551234567", None, "is not a phone number"),
        ("+15551234567 ext. 3", None, "is not a phone number"),
        ("+1555123\0" + "4567", None, "is not a phone number"),
        ("+١٥٥٥١٢٣٤٥٦٧", None, "is not a phone number"),
        ("", "US", "is not a phone number"),
        ("+", "US", "is not a phone number"),
        ("1" * 100_000, "US", "is not a phone number"),
    ],
)
def test_what_is_none(written, region, why) -> None:
    """A number that cannot be dialled is refused with the reason; nothing is picked out of a longer text."""
    with pytest.raises(ValueError, match=re.escape(why)):
        e164(written, region)


@given(st.text(alphabet="+0123456789 ()-./x\r\n\0٣", max_size=40), st.sampled_from([None, "US", "DE", "IT"]))
def test_never_anything_else(written, region) -> None:
    """Whatever comes in, what comes out is E.164, and stays what it is when it comes in again."""
    try:
        number = e164(written, region)
    except ValueError:
        return
    assert re.fullmatch(r"\+[0-9]{4,17}", number)
    assert e164(number) == number


def test_regions() -> None:
    """Countries are two capital letters."""
    assert is_region("US")
    assert not is_region("us")
    assert not is_region("XX")

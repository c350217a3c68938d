"""What a reader sees nothing of."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.translate.blank import is_blank


@pytest.mark.parametrize(
    "text", ["", " \t\r\n", "\u00a0\u3000", "\u200b\u200d\ufeff", "\u00ad", "\u2800", "\u3164", "\U000e0041", "\ufffc"]
)
def test_nothing_is_seen(text):
    """Padding of previews, marks of direction, fillers: as good as an empty text."""
    assert is_blank(text)


@pytest.mark.parametrize("text", [".", "\u200ba", "\u2764\ufe0f", "\u0301", "\U0001f408\u200d\u2b1b", "0"])
def test_one_character_that_shows_is_enough(text):
    """Whatever stands around it."""
    assert not is_blank(text)


@given(st.text())
def test_letters_digits_and_signs_are_seen(text):
    """Whatever Unicode calls a decimal digit, punctuation or a sign of money is no blank."""
    if any(unicodedata.category(one) in ("Nd", "Po", "Sc", "Lu", "Ll") for one in text):
        assert not is_blank(text)

"""Alphabets of text messages: what goes out is what the handset shows."""

# Look-alikes are the matter here.
# ruff: noqa: RUF001

import gsm0338
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.sms import coding, gsm, transliterate
from kumotwist.proto.sms.coding import Coding

ALPHABET = [char for char in gsm.BASIC if char != "\x1b"] + list(gsm.EXTENSION.values())
#: An independent table of the same standard.
ORACLE = gsm0338.Codec()


def test_the_table_is_that_of_the_standard():
    """Every character of the alphabet has the code that another implementation gives it (3GPP TS 23.038)."""
    assert len(set(ALPHABET)) == 137
    for char in ALPHABET:
        assert gsm.encode(char) == ORACLE.encode(char)[0], char


@given(st.text(st.sampled_from(ALPHABET)))
def test_what_is_encoded_comes_back(text):
    """Nothing is lost on the way."""
    septets = gsm.encode(text)
    assert gsm.decode(septets) == text
    assert len(septets) == len(text) + sum(text.count(char) for char in gsm.EXTENSION.values())


@given(st.characters(exclude_characters=ALPHABET))
def test_nothing_else_passes_for_gsm(char):
    """A character outside the table is never sent as another, an escape least of all."""
    assert gsm.encode(char) is None


@given(st.binary())
def test_any_octets_can_be_shown(septets):
    """A message from a handset never breaks us, whatever its octets."""
    assert isinstance(gsm.decode(septets), str)


@pytest.mark.parametrize(
    ("septets", "text"),
    [
        (b"\x1be", "€"),
        (b"a\x1b", "a "),
        (b"\x1bA", "A"),
        (b"\x1b\x1be", " €"),
        (b"\x80", "\ufffd"),
        (b"\x1b\x0a", "\f"),
    ],
)
def test_odd_escapes_show_what_the_standard_says(septets, text):
    """3GPP TS 23.038 s6.2.1.1: an unknown code shows the basic character."""
    assert gsm.decode(septets) == text


@given(st.text(), st.sampled_from(list(Coding)))
def test_units_are_what_the_wire_costs(text, which):
    """A text that can be written is written whole, and comes back."""
    text = coding.clean(text)
    units = coding.measure(text, which)
    if units is None:
        assert which is not Coding.UCS2
        return
    assert coding.decode(coding.encode(text, which), which) == text
    if which is Coding.UCS2:
        assert units * 2 == len(coding.encode(text, which))


def test_an_smsc_with_latin1_default_gets_latin1_and_counts_septets():
    """`{` is one octet there and still costs two septets; a Greek letter cannot be sent that way."""
    assert coding.encode("é{", Coding.GSM_AS_LATIN1) == b"\xe9{"
    assert coding.measure("é{", Coding.GSM_AS_LATIN1) == 3
    assert coding.measure("Ω", Coding.GSM_AS_LATIN1) is None
    assert coding.measure("€", Coding.GSM_AS_LATIN1) is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("a\tb\u00a0c", "a b c"),
        ("nul\0 esc\x1b bell\x07", "nul esc bell"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("plain", "plain"),
    ],
)
def test_control_characters_never_leave(given, kept):
    """NUL, escape and half pairs in a text do no harm, and a tab does not cost a UCS-2 message."""
    assert coding.clean(given) == kept


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("“It’s” – fine…", '"It\'s" - fine...'),
        ("Żółć, Ünïcödé, façade", "Zolc, Ünicödé, facade"),
        ("Œuvre ﬁne ²", "OEuvre fine 2"),
        ("zero\u200bwidth", "zerowidth"),
        ("e\u0301", "é"),
        ("日本", None),
        ("ok 🙂", None),
    ],
)
def test_look_alikes(given, plain):
    """Typographic characters become what people type; letters of the alphabet keep their accents."""
    assert transliterate.to_gsm(given) == plain


@given(st.text())
def test_look_alikes_are_in_the_alphabet(text):
    """Whatever comes out can be sent as GSM."""
    plain = transliterate.to_gsm(text)
    assert plain is None or gsm.encode(plain) is not None

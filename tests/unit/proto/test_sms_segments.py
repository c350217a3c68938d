"""Long texts: as many messages as counted, no character in two halves."""

# Look-alikes are the matter here.
# ruff: noqa: RUF001

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.sms import gsm, udh
from kumotwist.proto.sms.coding import ROOM, Coding, clean, measure, to_units
from kumotwist.proto.sms.segments import compose
from kumotwist.proto.sms.udh import Concatenation

TEXTS = st.one_of(
    st.text(max_size=600),
    st.text(st.sampled_from("a€{🙂 \n"), max_size=900),
    st.text(st.sampled_from("a€[ "), max_size=900),
)


@given(TEXTS, st.booleans(), st.booleans())
def test_the_parts_are_the_text(text, wide, with_latin1):
    """Every part fits into one message, none ends inside a character, and together they are the text."""
    codings = (Coding.GSM, Coding.LATIN1, Coding.UCS2) if with_latin1 else (Coding.GSM, Coding.UCS2)
    sms = compose(text, codings=codings, wide_reference=wide)
    assert "".join(sms.parts) == sms.text == clean(text)
    assert not sms.is_cut
    room = ROOM[sms.coding]
    limit = room.alone if sms.segments == 1 else room.wide if wide else room.narrow
    assert all(measure(part, sms.coding) <= limit for part in sms.parts)
    assert sum(measure(part, sms.coding) for part in sms.parts) == sms.units == measure(sms.text, sms.coding)
    for part in sms.parts:
        assert not (sms.coding is Coding.GSM and to_units(part, Coding.GSM)[-1:] == bytes([gsm.ESCAPE]))
        assert "\ufffd" not in part or "\ufffd" in sms.text


@given(TEXTS, st.integers(1, 4), st.booleans(), st.booleans())
def test_a_cut_text_fits(text, limit, wide, transliterated):
    """`max_segments` holds whatever the text; what is cut ends with dots."""
    sms = compose(text, max_segments=limit, wide_reference=wide, transliterate_to_gsm=transliterated)
    assert 1 <= sms.segments <= limit
    assert "".join(sms.parts) == sms.text
    if sms.is_cut:
        assert sms.text.endswith(("…", "..."))
        assert len(compose(text, wide_reference=wide).parts) > limit
    elif not transliterated:
        assert sms.text == clean(text)


@pytest.mark.parametrize(
    ("text", "coding", "segments"),
    [
        ("", Coding.GSM, 1),
        ("a" * 160, Coding.GSM, 1),
        ("a" * 161, Coding.GSM, 2),
        ("a" * 306, Coding.GSM, 2),
        ("a" * 307, Coding.GSM, 3),
        ("€" * 80, Coding.GSM, 1),
        ("ж" * 70, Coding.UCS2, 1),
        ("ж" * 71, Coding.UCS2, 2),
        ("ж" * 135, Coding.UCS2, 3),
        ("🙂" * 35, Coding.UCS2, 1),
        # 66 units of 67, since half a pair would not do.
        ("🙂" * 66, Coding.UCS2, 2),
        ("🙂" * 67, Coding.UCS2, 3),
    ],
)
def test_counts_are_those_of_the_bill(text, coding, segments):
    """Segments as every carrier counts them (3GPP TS 23.040 s9.2.3.24.1)."""
    sms = compose(text)
    assert (sms.coding, sms.segments) == (coding, segments)


def test_an_escape_pair_at_the_border_moves_on_whole():
    """The euro sign that other libraries lose at a border arrives."""
    sms = compose("a" * 152 + "€" + "b" * 20)
    assert sms.parts == ("a" * 152, "€" + "b" * 20)


def test_a_wide_reference_takes_a_unit_from_each_part():
    """152 and 66 with a 16-bit reference."""
    assert len(compose("a" * 400, wide_reference=True).parts[0]) == 152
    assert len(compose("ж" * 200, wide_reference=True).parts[0]) == 66


def test_transliteration_is_off_unless_asked_for():
    """A curly quote stays one, and costs UCS-2, until the policy says otherwise."""
    assert compose("it’s").coding is Coding.UCS2
    sms = compose("it’s", transliterate_to_gsm=True)
    assert (sms.text, sms.coding, sms.is_transliterated) == ("it's", Coding.GSM, True)


def test_transliteration_that_saves_nothing_is_left():
    """With one character beyond help the whole text stays as written."""
    sms = compose("it’s 日", transliterate_to_gsm=True)
    assert (sms.text, sms.coding, sms.is_transliterated) == ("it’s 日", Coding.UCS2, False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("word " * 40, ("word " * 31).rstrip() + "..."),
        ("a" * 200, "a" * 157 + "..."),
        ("see https://example.com/" + "x" * 200, "see..."),
        ("ж" * 80, "ж" * 69 + "…"),
        ("👨‍👩‍👧" * 20, "👨‍👩‍👧" * 8 + "…"),
    ],
)
def test_a_cut_is_clear(text, shown):
    """At a word, before a link and never within what looks like one character."""
    sms = compose(text, max_segments=1)
    assert (sms.text, sms.segments, sms.is_cut) == (shown, 1, True)


def test_what_no_coding_can_write_is_shown_as_a_question_mark():
    """Only when the policy rules UCS-2 out."""
    assert compose("a日b", codings=(Coding.GSM,)).text == "a?b"


@given(st.integers(0, 0xFFFF), st.integers(1, 255), st.binary(max_size=134), st.booleans(), st.data())
def test_a_header_is_read_back(reference, total, body, wide, data):
    """What we write others can put together again."""
    part = Concatenation(reference if wide else reference & 0xFF, total, data.draw(st.integers(1, total)))
    assert udh.parse(udh.header(part, wide) + body) == (part, body)


@given(st.binary(max_size=160))
def test_a_header_that_lies_does_no_harm(user_data):
    """Lengths past the end, unknown elements, parts beyond the total: never an error."""
    part, body = udh.parse(user_data)
    assert user_data.endswith(body)
    assert part is None or 1 <= part.sequence <= part.total


def test_other_elements_beside_the_concatenation_are_skipped():
    """Port addressing (0x05) before the reference."""
    assert udh.parse(b"\x0b\x05\x04\x0b\x84\x00\x00\x00\x03\x07\x02\x01hi") == (Concatenation(7, 2, 1), b"hi")

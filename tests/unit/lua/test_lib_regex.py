"""kumo.regex and kumo.regex_set_map: Rust's regular expressions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.luabox import LuaBox

from kumotwist.core.errors import PolicyError
from kumotwist.lua.lib.regex import Regex, RegexLibrary
from kumotwist.lua.lib.regex_set_map import RegexSetMapLibrary
from kumotwist.lua.lib.regexsyntax import escape

BOX = LuaBox(RegexLibrary(), RegexSetMapLibrary())


def test_the_examples_of_kumomtas_documentation():
    """Each method does what its page says."""
    BOX.now(r"""
    local re = kumo.regex.compile "'([^']+)'\\s+\\((\\d{4})\\)"
    local cap = re:captures "Not my favorite movie: 'Citizen Kane' (1941)."
    assert(cap[0] == "'Citizen Kane' (1941)" and cap[1] == 'Citizen Kane' and cap[2] == '1941')
    local re = kumo.regex.compile "'(?<title>[^']+)'\\s+\\((?<year>\\d{4})\\)"
    local cap = re:captures "Not my favorite movie: 'Citizen Kane' (1941)."
    assert(cap.title == 'Citizen Kane' and cap.year == '1941' and cap[2] == '1941')
    assert(re:captures 'nothing' == nil)
    assert(kumo.regex.compile('oo'):is_match 'foo' and not kumo.regex.compile('oo'):is_match 'bar')
    assert(kumo.regex.compile('o+'):find 'fooood' == 'oooo' and kumo.regex.compile('o+'):find 'x' == nil)
    local res = kumo.regex.compile('\\b\\w{13}\\b'):find_all 'Retroactively relinquishing is reprehensible.'
    assert(table.concat(res, ',') == 'Retroactively,relinquishing,reprehensible')
    assert(kumo.regex.compile('[^01]+'):replace('1078910', '') == '1010')
    local re = kumo.regex.compile '(?P<last>[^,\\s]+),\\s+(?P<first>\\S+)'
    assert(re:replace('Springsteen, Bruce', '$first $last') == 'Bruce Springsteen')
    local re = kumo.regex.compile '[ \\t]+'
    assert(table.concat(re:split 'a b \t  c\td    e', ',') == 'a,b,c,d,e')
    assert(tostring(re) == '[ \\t]+')
    """)


@pytest.mark.parametrize(
    ("pattern", "haystack", "found"),
    [
        (r"a$", "a\n", None),
        (r"a$", "xa", "a"),
        (r"(?m)a$", "a\nb", "a"),
        (r"(?m:a$)", "a\nb", "a"),
        (r"a\z", "a\n", None),
        (r"a\Z", "a\n", "a"),
        (r"\x{41}+", "AAB", "AA"),
        (r"[\u{e4}-\u{fc}]", "ö", "ö"),
        (r"\h+", "xyzBEEF", "BEEF"),
        (r"[\h]+", "xyzBEEF", "BEEF"),
        (r"[$]", "a$", "$"),
        (r"\$", "a$", "$"),
        (r"[]a]+", "x]a", "]a"),
        (r"[^]a]+", "]xa", "x"),
        (r"[a-z&&[^aeiou]]+", "aibcd", "bcd"),
        (r"[[:alpha:]]+", "12ab", "ab"),
        (r"a(?i)b", "aB", "aB"),
        (r"a(?i)b", "AB", None),
        (r"(?<=x)y", "zxy", "y"),
        (r"foo(?!bar)", "foobar foobaz", "foo"),
        (r"(?>a+)b", "aab", "aab"),
        (r"(\w)\1", "abccd", "cc"),
        (r"\p{Greek}+", "abλδ", "λδ"),
        (r"\d+", "x٣", "٣"),
        (r"(?x) a  b # comment", "ab", "ab"),
        (r".", "\n", None),
        (r"(?s).", "\n", "\n"),
    ],
)
def test_rusts_syntax(pattern, haystack, found):
    """What differs between Rust's dialect and Python's is as in Rust."""
    assert Regex(pattern).find(haystack) == found


@pytest.mark.parametrize(
    ("pattern", "haystack", "replacement", "result"),
    [
        ("(a)(b)?", "ac", "[$1$2]", "[a]c"),
        ("a", "a", "$$1", "$1"),
        ("(a)", "a", "${1}b", "ab"),
        ("(a)", "a", "$1b", ""),
        ("(?<n>a)", "a", "${n}$0$9", "aa"),
        ("a", "a", "\\0 \\g<0>", "\\0 \\g<0>"),
        ("a", "a", "100$", "100$"),
        ("x*", "ab", "-", "-a-b-"),
    ],
)
def test_replacements(pattern, haystack, replacement, result):
    """Group references are Rust's; nothing else in a replacement has a meaning."""
    assert Regex(pattern).replace_all(haystack, replacement) == result


def test_how_many_are_replaced():
    """`replace` the first, `replace_all` all, `replacen` so many and all for 0."""
    regex = Regex("a")
    assert regex.replace("aaa", "b") == "baa"
    assert regex.replace_all("aaa", "b") == "bbb"
    assert regex.replacen("aaa", 2, "b") == "bba"
    assert regex.replacen("aaa", 0, "b") == "bbb"


def test_empty_matches_are_not_found_right_behind_others():
    """As Rust counts them."""
    assert Regex("a*").find_all("baac") == ["", "aa", ""]


@given(st.text())
def test_escaped_text_matches_itself_only(text):
    """Whatever the text."""
    regex = Regex(f"(?s)\\A{escape(text)}\\z")
    assert regex.is_match(text)
    assert not regex.is_match(text + "x")


def test_a_pattern_that_backtracks_without_end_is_stopped():
    """One bad pattern cannot hold up all mail."""
    with pytest.raises(PolicyError, match=r"took longer than 0\.1 s and was stopped"):
        BOX.now("return kumo.regex.compile('(a|aa)+$'):is_match(string.rep('a', 60) .. 'b')")


@pytest.mark.parametrize("pattern", ["(", "[", "a{2,1}", "(?<n", "\\x{110000}", "*a"])
def test_what_is_no_pattern_is_told(pattern):
    """With the pattern."""
    with pytest.raises(ValueError, match=r"not a regular expression|there is no character"):
        Regex(pattern)


def test_compiled_patterns_are_kept():
    """A handler that compiles the same pattern for each message pays for it once."""
    library = RegexLibrary()
    assert library.compile("kept") is library.compile("kept")


def test_regex_set_maps():
    """A string is looked up by the pattern that it matches, anywhere in it."""
    BOX.now("""
    local map = kumo.regex_set_map.new { hello = 'hello', bye = 'bye', later = 'bye', ['Good day'] = { 1 } }
    assert(map['hello there'] == 'hello' and map['goodbye'] == 'bye' and map['see you later'] == 'bye')
    assert(map['Good day'][1] == 1 and map['not.set'] == nil and #map == 4)
    assert(not pcall(function() map.x = 1 end))
    assert(kumo.regex_set_map.new().x == nil)
    """)

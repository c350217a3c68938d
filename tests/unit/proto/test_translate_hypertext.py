"""HTML as a reader sees it: what is left out, how lists, tables and links read, and that nothing takes long."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from kumotwist.proto.translate import hypertext
from kumotwist.proto.translate.document import Run, from_plain, to_plain


def read(markup: str, *, with_urls: bool = True) -> str:
    return to_plain(hypertext.read(markup).lines, with_urls=with_urls)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("Hello <b>bold</b> world", "Hello bold world"),
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("<div>One</div><div>Two</div>", "One\nTwo"),
        ("One<br>Two<br><br><br><br>Three", "One\nTwo\n\nThree"),
        ("  much \n\t white&nbsp;&nbsp; space ", "much white space"),
        ("a<b> b</b> c", "a b c"),
        ("<h1>Title</h1>Text<hr>End", "Title\n\nText\n\nEnd"),
        ("&lt;tag&gt; &amp; &euro; &#8364; &eacute &bogus; &#0;", "<tag> & € € é &bogus; \ufffd"),
        ("1 < 2 and 3 > 2 <3", "1 < 2 and 3 > 2 <3"),
        ("<script>if (a<b) alert('x')</script>ok<style>p{}</style>", "ok"),
        ("<head><title>no</title><meta content=x></head><body>yes", "yes"),
        ("<!-- no --><!doctype html><?xml x?><![if !mso]>yes<![endif]>", "yes"),
        ("<!--[if mso]><table><tr><td>no<![endif]-->yes", "yes"),
        ("<p>unclosed<p>paragraphs", "unclosed\n\nparagraphs"),
        ("<pre>a\n  b\tc</pre>", "a\n  b    c"),
        ("soft&shy;hyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("<ul><li>one<li>two</ul>", "- one\n- two"),
        ("<ol start=3><li>three<li><p>four</p></ol>", "3. three\n4. four"),
        ("<ul><li>a<ol><li>b</ol><li>c</ul>", "- a\n  1. b\n- c"),
        ("<table><tr><th>Item<th>Price<tr><td>Tea<td>3</table>", "Item | Price\nTea | 3"),
        ("<table><tr><td><p>One</p></td><td><p>Two</p></td></tr></table>", "One\n\nTwo"),
        ("<table><tr><td></td><td>only</td></tr></table>", "only"),
        ("<blockquote>quoted<br>text</blockquote>mine", "> quoted\n> text\n\nmine"),
        ("<blockquote style='margin: 0 0 0 40px; border: none'>indented</blockquote>", "indented"),
        ("<img src=x alt='A cat'><img src=y><img src=z width=1 alt=pixel>", "A cat"),
        ("no markup at all\nat all", "no markup at all at all"),
        ("text <a b", "text"),
        ("<p>a</p><li><pre> </pre><p> </p><p>b</p>", "a\n\n- b"),
        ("", ""),
    ],
)
def test_reads_well(markup: str, text: str) -> None:
    """Each is what a person would type for what the page shows."""
    assert read(markup) == text


@pytest.mark.parametrize(
    "hidden",
    [
        '<div style="display:none">no</div>',
        '<div style="DISPLAY : none !important">no <p>nor this</div>',
        '<span style="visibility: hidden">no</span>',
        '<div style="max-height:0px;overflow:hidden">no</div>',
        '<div style="opacity:0;">no</div>',
        "<p hidden>no</p>",
        '<span class="x preheader">no</span>',
        "<svg><text>no</text></svg>",
    ],
)
def test_what_is_hidden_stays_hidden(hidden: str) -> None:
    """Preview texts and what only a screen of another width shows."""
    assert read(f"yes {hidden} yes") == "yes\nyes" or read(f"yes {hidden} yes") == "yes yes"


@pytest.mark.parametrize("style", ["font-size:0", "mso-hide:all", "max-height:0.5em", "opacity:0.9", "display:block"])
def test_what_only_looks_hidden_is_shown(style: str) -> None:
    """Mail frameworks set a font size of 0 around text that sets its own, and hide buttons from Outlook only."""
    assert read(f'<div style="{style}">yes</div>') == "yes"


def test_the_preview_text_is_kept_apart() -> None:
    """It is the best summary there is, without the blanks that pad it."""
    page = hypertext.read(
        '<div style="display:none">Sale &zwnj;&nbsp;&zwnj;&#847; ends\n today</div><p hidden>x</p><p>Hello'
    )
    assert page.preheader == "Sale ends today"
    assert to_plain(page.lines) == "Hello"
    assert hypertext.read("<p>Hello").preheader == ""


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ('<a href="https://e.example/a?b=1&amp;c=2">Click</a> it', "Click (https://e.example/a?b=1&c=2) it"),
        ('<a href="https://e.example/">e.example</a>', "e.example"),
        ('<a href="https://www.e.example/a">https://e.example/a</a>', "https://e.example/a"),
        ('<a href="mailto:a@b.example?subject=x">write</a>', "write (a@b.example)"),
        ('<a href="mailto:a@b.example">a@b.example</a>', "a@b.example"),
        ('<a href="tel:+15551234567">call</a>', "call (+15551234567)"),
        (
            '<a href="#top">up</a> <a href="javascript:x()">run</a> <a href="/rel">rel</a> <a>bare</a>',
            "up run rel bare",
        ),
        ('<a href="https://e.example/x"><img src=i alt="Shop"></a>', "Shop (https://e.example/x)"),
        ('<a href="https://e.example/x"><img src=i></a>', ""),
        ('<a href="https://e.example/x">a</a> <a href="https://e.example/x">b</a>', "a b (https://e.example/x)"),
        ('<a href="https://e.example/x"><b>bold</b> rest</a>.', "bold rest (https://e.example/x)."),
        ('<a href=" https://e.example/a\nb ">x</a>', "x (https://e.example/ab)"),
        ("<a href='https://[::1/'>bad</a>", "bad"),
    ],
)
def test_links_are_kept_whole(markup: str, text: str) -> None:
    """The address behind the words where these do not show it; never a script, never twice."""
    assert read(markup) == text


def test_links_can_be_left_out() -> None:
    """Where only the words are wanted."""
    assert read('<a href="https://e.example/">Click</a> it', with_urls=False) == "Click it"


def test_the_look_of_words_is_known() -> None:
    """For chats that can show it."""
    (line,) = hypertext.read("a <b>b <i>c</i></b> <code>d</code> <a href='https://e.example'>e</a>").lines
    looks = {
        run.text.strip(): (run.is_bold, run.is_italic, run.is_code, run.url) for run in line.runs if run.text.strip()
    }
    assert looks == {
        "a": (False, False, False, ""),
        "b": (True, False, False, ""),
        "c": (True, True, False, ""),
        "d": (False, False, True, ""),
        "e": (False, False, False, "https://e.example"),
    }


@pytest.mark.parametrize(
    "evil",
    [
        "<div>" * 100_000,
        "<b><p>" * 50_000,
        '<a "' * 120_000,
        "<!--" * 120_000,
        "<" * 500_000,
        "&" * 500_000,
        "&#" + "1" * 5000 + ";",
        "<x " + "a=1 " * 120_000 + ">",
        "<td>x" * 50_000,
        "<b>" * 200 + "</i>" * 100_000,
        "<style>" * 70_000,
        "<a href='" * 50_000,
        "<a" + " " * 400_000,
        "</" * 200_000,
        "<ul><li>x" * 40_000,
    ],
)
def test_hostile_markup_takes_no_time(evil: str) -> None:
    """Strangers write mail: half a megabyte of anything is read in a second, where a tree takes minutes."""
    start = time.process_time()
    hypertext.read(evil)
    assert time.process_time() - start < 10


MARKUP = st.lists(
    st.sampled_from(
        [
            *(
                "<p>",
                "</p>",
                "<div>",
                "<ul>",
                "<ol>",
                "<li>",
                "</ul>",
                "<table>",
                "<tr>",
                "<td>",
                "</table>",
                "<br>",
                "<pre>",
            ),
            *(
                "<a href=https://e.example/>",
                "</a>",
                "<b>",
                "</b>",
                "<blockquote>",
                "</blockquote>",
                "<",
                ">",
                '"',
                "&amp;",
            ),
            *(
                "text",
                " ",
                "\n",
                "<p hidden>",
                "<img alt='x y'>",
                "<script>",
                "</script>",
                "<!--",
                "-->",
                "\u00a0",
                "</pre>",
            ),
        ]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=examples(300))
@given(st.one_of(MARKUP, st.text(max_size=200)))
def test_any_markup_gives_tidy_lines(markup: str) -> None:
    """Never two blank lines together, none at the ends, no line break or markup within a run."""
    lines = hypertext.read(markup).lines
    blanks = [line.is_blank for line in lines]
    assert not (blanks and (blanks[0] or blanks[-1]))
    assert not any(a and b for a, b in pairwise(blanks))
    assert all("\n" not in run.text for line in lines for run in line.runs)


def test_plain_text_has_lines_and_quotes() -> None:
    """`>` marks, with and without blanks between them."""
    lines = from_plain("a\n> b\n>> c\n> > d\n")
    assert [(line.quote, line.runs) for line in lines] == [
        (0, (Run("a"),)),
        (1, (Run("b"),)),
        (2, (Run("c"),)),
        (2, (Run("d"),)),
        (0, ()),
    ]
    assert to_plain(lines) == "a\n> b\n>> c\n>> d"

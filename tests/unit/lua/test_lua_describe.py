"""The reference pages are those of the code at hand."""

from pathlib import Path

from kumotwist.lua.describe import events_page, functions_page

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


def test_the_pages_are_up_to_date():
    """`make docs` has been run since a function or an event changed."""
    assert (REFERENCE / "functions.md").read_text(encoding="utf-8") == functions_page()
    assert (REFERENCE / "events.md").read_text(encoding="utf-8") == events_page()


def test_every_function_says_what_it_does():
    """No function, method or event stands in the reference without a sentence."""
    for page in (functions_page(), events_page()):
        for line in page.splitlines():
            if line.startswith("| `") and "(" in line:
                assert line.split(" | ")[-1].strip(" |"), line

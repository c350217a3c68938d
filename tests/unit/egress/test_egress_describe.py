"""The channels' pages: one for each, true to the declarations, with policies that work when pasted."""

import re
from pathlib import Path

import pytest
from support.lua import Bench, now

from kumotwist.egress.describe import filled
from kumotwist.egress.protocols import BUILT_IN
from kumotwist.lua.validate import Report, validate

PAGES = Path(__file__).parents[3] / "docs" / "channels"
#: They are KumoMTA's and stand in the reference of options.
ELSEWHERE = {"smtp", "custom_lua", "maildir", "null"}
NAMES = sorted(set(BUILT_IN) - ELSEWHERE)


def test_every_channel_has_its_page_and_no_other_has() -> None:
    """A channel without a page is one that nobody can use."""
    assert sorted(path.stem for path in PAGES.glob("*.md")) == NAMES


def test_the_list_of_channels_has_each_of_them():
    """docs/channels.md leads to every page."""
    assert sorted(re.findall(r"\(channels/(\w+)\.md\)", (PAGES.parent / "channels.md").read_text())) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_up_to_date(name: str) -> None:
    """`make docs` was run after the last change; the blocks for options and errors are there."""
    page = (PAGES / f"{name}.md").read_text()
    assert "<!-- options -->" in page
    assert "<!-- errors -->" in page
    assert filled(page, name) == page


@pytest.mark.parametrize("name", NAMES)
def test_its_policies_work_when_pasted(name: str, tmp_path) -> None:
    """Each whole policy on the page passes the check that an operator would run, without a warning."""
    policies = re.findall(r"```lua\n(.*?)```", (PAGES / f"{name}.md").read_text(), re.DOTALL)
    assert any("kumo.on" in one for one in policies)
    for text in policies:
        if "kumo.on" in text:
            bench = Bench(tmp_path)
            bench.write(text)
            assert now(validate(bench.path, bench.services)) == Report()

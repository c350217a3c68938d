"""The reference page of options."""

from pathlib import Path

import attrs
import pytest

from kumotwist.config.catalog import CATALOG, NESTED
from kumotwist.config.describe import page
from kumotwist.config.option import DOC_KEY, option_name

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "options.md"


def test_the_page_in_the_repository_is_up_to_date() -> None:
    """`make docs` was run after the last change of an option."""
    assert PAGE.read_text() == page()


@pytest.mark.parametrize("cls", [*CATALOG.values(), *NESTED.values()])
def test_every_option_says_what_it_means(cls: type) -> None:
    """No option without a sentence, in the page as in the class."""
    for field in attrs.fields(cls):
        assert field.metadata[DOC_KEY].text.endswith("."), field.name
        assert f"`{option_name(field)}`" in page()

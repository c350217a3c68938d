"""The documents name files and functions that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "changelog.md")
#: `package/module.py` or `package/module.py: Class.method`
REFERENCE = re.compile(r"`([a-z_]+(?:/[a-z_]+)+\.py)(?:: ([A-Za-z_.]+))?`")


def defined_in(path: Path) -> set[str]:
    """Top-level names and `Class.method` of a module."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
            members = node.body if isinstance(node, ast.ClassDef) else []
            names.update(
                f"{node.name}.{one.name}" for one in members if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))
            )
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    """A newcomer who follows a page never ends at a name that was moved."""
    for file, name in REFERENCE.findall(page.read_text()):
        path = next((base / file for base in (ROOT / "kumotwist", ROOT) if (base / file).is_file()), None)
        assert path is not None, f"{page.name} names {file}, which is not there"
        assert not name or name in defined_in(path), f"{page.name}: {file} has no {name}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """No dead links between our own pages."""
    if not page.is_file():
        pytest.fail(f"{page} is missing")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"

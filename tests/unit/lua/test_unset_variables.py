"""What `kumotwist validate` notes of environment variables: those that are asked for and not set, by name and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kumotwist.lua.unsetvariables import unset_variables


def _told(directory: Path, source: str) -> str | None:
    policy = directory / "policy.lua"
    policy.write_text(source)
    found = unset_variables(policy, {"SET": "x"}.get)
    return found.removeprefix("os.getenv finds nothing here for ") if found is not None else None


def test_variables_that_are_not_set(tmp_path: Path) -> None:
    """With and without brackets, each at its first place, in the files that the policy requires as well."""
    (tmp_path / "more.lua").write_text("\nreturn os.getenv [[no]], os.getenv 'D'")
    source = """-- os.getenv 'X'
      local more, a = require 'more', os.getenv 'A'
      local table = { a = os.getenv 'A', os.getenv("B"), c = os.getenv ( 'C' ), d = os.getenv 'SET' }
    """
    assert _told(tmp_path, source) == "A (policy.lua:2), B (policy.lua:3), C (policy.lua:3), D (more.lua:2)"


@pytest.mark.parametrize(
    "source",
    [
        "local a = os.getenv 'A' or 'b'",
        "local a = os.getenv('A') or os.getenv ( \"SET\" )\n  or c",
        "local a = os.getenv('A')\n  or 'c'",
        "local text = [[ os.getenv 'A' ]] .. 'os.getenv \"A\"' -- os.getenv 'A'",
        "local a = my.os.getenv 'A', os.getenv(name), os.getenv",
    ],
)
def test_what_is_not_told(tmp_path: Path, source: str) -> None:
    """A variable with something in its stead, and what only looks like one."""
    assert _told(tmp_path, source) is None

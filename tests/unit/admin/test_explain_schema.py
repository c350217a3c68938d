"""The page and the schema of explanations are what explanations are."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest

from kumotwist.admin.schema import explanation_schema

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "explain.md").read_text()
SCHEMA = json.loads((ROOT / "docs" / "reference" / "explain.schema.json").read_text())
POLICY, MESSAGE, SHOWN = re.findall(r"```(?:lua|console)?\n(.*?)```", PAGE, re.DOTALL)[:3]


def strict(schema):
    """The same with nothing that it does not name."""
    for one in schema["$defs"].values():
        if "properties" in one:
            one["additionalProperties"] = False
    return schema


@pytest.fixture
def explain(tmp_path):
    """Asks about the page's message, or another one, under the page's policy."""
    (tmp_path / "policy.lua").write_text(POLICY)

    def ask(*arguments, message=MESSAGE):
        (tmp_path / "message.eml").write_text(message)
        command = [sys.executable, "-m", "kumotwist.service.main", "explain", "--policy=policy.lua", "message.eml"]
        done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        return done.stdout

    return ask


def test_the_page_shows_what_is_said(explain):
    """Whoever pastes policy, message and command gets the same text."""
    command, _, shown = SHOWN.partition("\n")
    arguments = command.partition("message.eml ")[2].split()
    # Lua cuts the front of long names.
    told, expected = (re.sub(r"[^ (]*/policy\.lua", "policy.lua", text) for text in (explain(*arguments), shown))
    assert told == expected


def test_the_schema_in_the_docs_is_up_to_date():
    """`make docs` was run after the last change of an explanation."""
    assert explanation_schema() == SCHEMA


@pytest.mark.parametrize(
    "arguments",
    [
        ["--to=ann@example.org"],
        ["--to=ann@example.org", "--to=bob@example.org"],
        ["--to=+4930123456"],
        ["--to=ann@example.org", "--meta=route=api"],
        ["--to=ann@example.org", "--meta=route=nope"],
        ["--to=ann@example.org", "--meta=route_table=nope"],
        ["--to=ann@example.org", "--meta=route_table=text"],
        ["--to=ann@example.org", "--http"],
    ],
)
def test_what_programs_get_is_as_the_schema_says(explain, arguments):
    """Every field, and none besides."""
    told = json.loads(explain(*arguments, "--json"))
    assert list(jsonschema_rs.Draft202012Validator(strict(explanation_schema())).iter_errors(told)) == []


def test_the_page_names_every_field():
    """None is left for the reader to guess at, and every kind of failure is there."""
    names = {name for one in SCHEMA["$defs"].values() for name in one.get("properties", ())}
    seconds = {"handover_seconds", "receipt_seconds", "handed_over", "transient", "permanent"}  # told in words
    words = names | set(SCHEMA["$defs"]["Consequence"]["properties"]["case"]["enum"])
    assert {word for word in words if f"`{word}`" not in PAGE} <= seconds

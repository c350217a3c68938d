"""The shipped policies pass their own tests, written in Lua for `kumotwist policy-test`."""

from pathlib import Path

import pytest

from kumotwist.trial.policytest.result import shortened
from kumotwist.trial.policytest.running import files_of, run

POLICIES = Path(__file__).parents[2] / "policy"
FILES = files_of(POLICIES / "tests")
LUA_CJSON = Path("/usr/lib/x86_64-linux-gnu/lua/5.4/cjson.so")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_policy_does_what_it_says(file):
    """An operator who starts from a shipped policy starts from something that works."""
    if file.name == "lua_c_module_test.lua" and not LUA_CJSON.exists():
        pytest.skip("Debian's lua-cjson is not installed")
    result = run([file])
    assert result.outcomes
    assert [(one.name, one.place, one.failure) for one in result.outcomes if not one.has_passed] == []
    for policy, lines in result.files.items():
        if "providers" not in policy:
            assert len(lines.covered) / len(lines.executable) >= 0.97, (policy, lines.missing)


def test_every_shipped_policy_has_tests():
    """None is left out when one is added."""
    tested = {file.name.replace("_test", "") for file in FILES}
    policies = {one.name for one in (POLICIES / "examples").glob("*.lua") if one.name != "providers.lua"} | {"demo.lua"}
    assert policies == tested, shortened(POLICIES)

"""Which lines of a file can run: read from what Lua compiles, checked against what Lua itself says."""

import lupa.lua54 as lupa
import pytest

from kumotwist.core.errors import PolicyError
from kumotwist.lua.coverage import executable_lines


def lines_of(tmp_path, text):
    path = tmp_path / "x.lua"
    path.write_text(text)
    return executable_lines(path)


def test_lines_without_code_do_not_count(tmp_path):
    """Comments and the `end` of a condition do not; the `end` of a function does, for it is made there."""
    text = "-- a comment\nlocal function f(x)\n  if x then\n    return 1\n  end\n  return print(x)\nend\n\nf(2)\n"
    assert lines_of(tmp_path, text) == {3, 4, 6, 7, 9}


def test_as_lua_says_itself(tmp_path):
    """A file of two thousand lines, so that absolute line numbers are in it, gives Lua's own lines."""
    text = "".join(f"local t{n % 150} = {{ {n}, '{'x' * (n % 60)}', {n}.5, nil, true }}\n\n" for n in range(150))
    text += "\n" * 300 + "t1 = false\n" + "local s = [[\n" + "y\n" * 100 + "]]\nreturn s"
    own = lupa.LuaRuntime().execute(
        "local f = assert(load(...)) local found = {} for line in pairs(debug.getinfo(f, 'L').activelines) do "
        "found[#found + 1] = line end return found",
        text,
    )
    assert lines_of(tmp_path, text) == set(own.values())


def test_no_lua(tmp_path):
    """A file that is no Lua is told with its line, one that is not there by its name."""
    with pytest.raises(PolicyError, match=r"x\.lua:2:"):
        lines_of(tmp_path, "local a = 1\nlocal = 2\n")
    with pytest.raises(PolicyError, match="cannot read"):
        executable_lines(tmp_path / "absent.lua")

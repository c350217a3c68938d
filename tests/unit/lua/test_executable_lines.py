"""Which lines of a file can run: read from what Lua compiles, checked against what Lua itself says."""

import lupa.lua54 as lupa
import pytest

from kumotwist.core.errors import PolicyError
from kumotwist.lua.coverage import lines_of as lines_of_file


def lines_of(tmp_path, text):
    path = tmp_path / "x.lua"
    path.write_text(text)
    return lines_of_file(path).executable


def test_lines_without_code_do_not_count(tmp_path):
    """Comments, blank lines and what only closes something do not; a function counts where it begins."""
    text = """-- a comment
local function f(x)
  if x then
    return 1
  elseif x == nil then -- another
    x = {
      2,
    }
  else
    x = 3
  end
  return print(x)
end

kumo.on('init', function()
  for _ = 1, 2 do
    f(2)
  end
end)
local g = function() end, 5
function h() return { f, function()
  g()
end } end
"""
    assert lines_of(tmp_path, text) == {2, 3, 4, 5, 6, 10, 12, 15, 16, 17, 20, 21, 22}


def test_a_function_has_run_where_it_begins(tmp_path):
    """Lua makes a function at its end; whoever reads the report looks for the line where it begins."""
    path = tmp_path / "x.lua"
    path.write_text("local function f()\n  return 1\nend\nlocal g = {\n  h = function()\n    f()\n  end,\n}\n")
    lines = lines_of_file(path)
    assert lines.executable == {1, 2, 4, 5, 6}
    assert lines.ran([3, 4, 7]) == {1, 4, 5}
    assert lines.ran([2, 3, 99]) == {1, 2}


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
        lines_of_file(tmp_path / "absent.lua")

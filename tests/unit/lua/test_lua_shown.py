"""What a policy raises as an error, in words."""

import pytest

from kumotwist.core.errors import PolicyError
from kumotwist.lua.bridge import Bridge
from kumotwist.lua.engine import Settings
from kumotwist.lua.redact import Redactor


def raised_by(lua: str, settings: Settings | None = None) -> str:
    """The error of a policy whose second line is `lua`."""
    with pytest.raises(PolicyError) as caught:
        Bridge(settings or Settings(), {}).main(f"-- a policy\n{lua}".encode(), "policy.lua").send(None)
    return str(caught.value)


def test_a_table_is_shown_by_its_fields_and_where_it_was_raised():
    """In an order that does not change, with tables in it down to the second level."""
    assert raised_by(
        "error { code = 17, text = 'no such tenant', 'first', [true] = print, at = { a = { b = 1 } } }"
    ) == (
        "policy.lua:2: the table { [1] = 'first', [true] = a function, at = { a = {…} }, code = 17, "
        "text = 'no such tenant' } was raised as an error"
    )


def test_a_table_that_has_a_tostring_speaks_for_itself():
    """With the place, which Lua names only with strings."""
    said = raised_by("error(setmetatable({}, { __tostring = function() return 'out of credit' end }))")
    assert said == "policy.lua:2: out of credit"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("print", "a function was raised as an error"), ("nil", "nil"), ("42", "42"), ("{}", "the table {} was raised")],
)
def test_anything_else_is_told_without_an_address_in_memory(value, expected):
    """Nobody can do anything with `table: 0x55d0`."""
    said = raised_by(f"error({value})")
    assert said.startswith(f"policy.lua:2: {expected}")
    assert "0x" not in said


def test_a_raised_string_is_as_it_was():
    """Level and all."""
    assert raised_by("error('plain', 0)") == "plain"


@pytest.mark.parametrize(
    "lua",
    [
        "local t = {} for i = 1, 100000 do t[i] = ('x'):rep(i % 300) end error(t)",
        "local t = {} t.t = t error(t)",
        "local t = {} for i = 1, 50 do t[('k'):rep(1000) .. i] = { t, t, t, t, t, t, t, t, t } end error(t)",
    ],
)
def test_a_large_table_is_told_in_few_words(lua):
    """A log line stays one."""
    assert len(raised_by(lua)) < 8000


def test_a_secret_in_a_table_is_not_shown():
    """Long strings are not cut, so what is left of one is never a part of a secret."""
    redactor = Redactor()
    redactor.add(b"hunter2hunter2")
    redactor.add(b"s" * 150)
    said = raised_by(f"error {{ key = 'Bearer hunter2hunter2', long = '{'s' * 150}' }}", Settings(redactor=redactor))
    assert said == (
        "policy.lua:2: the table { key = 'Bearer <secret>', long = a string of 150 octets } was raised as an error"
    )


def test_what_a_raised_table_says_runs_nothing_of_the_policys():
    """Neither __index nor __pairs is asked."""
    said = raised_by(
        "error(setmetatable({ a = 1 }, { __index = function() while true do end end, __pairs = error, __len = error }))"
    )
    assert said == "policy.lua:2: the table { a = 1 } was raised as an error"

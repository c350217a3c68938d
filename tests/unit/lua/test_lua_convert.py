"""Values cross between Python and Lua unchanged, and what cannot cross is a clear error."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.lua import Bench, now

from kumotwist.core.errors import PolicyError
from kumotwist.lua.binding import Opaque, Placed, binary, callback, facade, text
from kumotwist.lua.bridge import Bridge
from kumotwist.lua.convert import json_value
from kumotwist.lua.engine import Settings

_SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8")),
    st.binary().filter(lambda octets: not _is_utf8(octets)),
)
_KEYS = st.text(st.characters(codec="utf-8"))
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, min_size=1), st.dictionaries(_KEYS, inner)),
    max_leaves=30,
)


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.fixture(scope="module")
def echo() -> Callable[..., list[object]]:
    """Sends values through a Lua handler, and from there through a host function and back."""
    bridge = Bridge(Settings(), {})
    bridge.engine.install("", {"same": lambda *values: tuple(values)})
    policy = b"local kumo = require 'kumo' kumo.on('echo', function(...) return kumo.same(...) end)"
    now(bridge.main(policy, "policy.lua"))
    return lambda *values: now(bridge.fire("echo", *values))


@settings(max_examples=examples(150))
@given(values=st.lists(_VALUES, max_size=4))
def test_values_come_back_as_they_went(echo: Callable[..., list[object]], values: list[object]) -> None:
    """Booleans, 64-bit integers, floats, text, binary strings, lists and tables: all survive both borders."""
    assert echo(*values) == values


def test_what_changes_is_documented(echo: Callable[..., list[object]]) -> None:
    """UTF-8 bytes come back as text, empty lists as empty tables, huge integers as floats, None is left out."""
    assert echo(b"plain", [], 2**64, {"a": None, "b": 1}, (1, 2)) == ["plain", {}, float(2**64), {"b": 1}, [1, 2]]
    assert echo([1, None, 3]) == [[1, None, 3]]
    assert echo(None, 1, None) == [None, 1, None]
    assert echo() == []
    assert math.isnan(echo(float("nan"))[0])  # type: ignore[arg-type]


def test_large_tables_cross(echo: Callable[..., list[object]]) -> None:
    """Tables with tens of thousands of entries cross, in both directions."""
    value = {"list": list(range(30_000)), "map": {f"k{number}": [number] for number in range(20_000)}}
    assert echo(value, "after") == [value, "after"]


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("coroutine.create(print)", "a thread cannot be passed to the host"),
        ("io.stdout", "a userdata cannot be passed to the host"),
        ("{ { io.stdout } }", "a userdata cannot be passed to the host"),
        ("{ [{}] = 1 }", "a table has a table for a key"),
        ("{ [true] = 1 }", "a table has a boolean for a key"),
        ("(function() local t = {} t.t = t return t end)()", "contains itself"),
    ],
)
def test_what_cannot_cross_says_why_and_where(bench: Bench, expression: str, error: str) -> None:
    """The error names the policy's file and line."""
    policy = bench.policy(f"kumo.on('go', function()\nreturn (kumo.wait({expression}))\nend)")
    with pytest.raises(PolicyError, match=rf"policy\.lua:2: .*{error}"):
        now(policy.run_event("go"))
    policy = bench.policy(f"kumo.on('go', function()\nreturn {expression}\nend)")
    with pytest.raises(PolicyError, match=error):
        now(policy.run_event("go"))


def test_number_keys_become_text(echo: Callable[..., list[object]], bench: Bench) -> None:
    """A table like { [404] = 'x' } is one with named entries."""
    policy = bench.policy("kumo.on('go', function() return { [404] = 'x', a = 1, [1.5] = 2 } end)")
    assert now(policy.run_event("go")) == {"404": "x", "a": 1, "1.5": 2}


@facade("counter", methods=("add", "fail"), fields=("total",), meta={"__len": "size", "__eq": "same", "__add": "plus"})
class Counter:
    def __init__(self, total: int = 0) -> None:
        self.total = total

    def add(self, more: object) -> Counter:
        self.total += int(text(more, "more"))
        return self

    def fail(self) -> None:
        raise ValueError("no more")

    def size(self) -> int:
        return self.total

    def same(self, other: object) -> bool:
        return isinstance(other, Counter) and other.total == self.total

    def plus(self, other: object) -> Counter:
        return Counter(self.total + (other.total if isinstance(other, Counter) else int(text(other, "other"))))


class CounterLibrary:
    namespace = "test.deep"

    def functions(self) -> dict[str, object]:
        return {
            "counter": Counter,
            "opaque": lambda: Opaque("thing", 7),
            "value_of": lambda thing: thing.value,
            "twice": self.twice,
            "raw": self.raw,
            "compose": lambda: lambda x: [x, Counter(x)],
            "defect": lambda: {}["no"],  # type: ignore[index]
        }

    async def twice(self, function: object, value: object) -> object:
        call = callback(function, "function")
        (once,) = await call(value)
        return await call(once)

    @binary
    def raw(self, data: object, table: object) -> object:
        return type(data).__name__ + type(table["k"]).__name__  # type: ignore[index]


@pytest.fixture
def counters(bench: Bench) -> Callable[[str], object]:
    bench.libraries = (CounterLibrary(),)  # type: ignore[assignment]

    def run(source: str) -> object:
        policy = bench.policy(f"local t = kumo.test.deep; kumo.on('go', function()\n{source}\nend)")
        return now(policy.run_event("go"))

    return run


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("local c = t.counter(1) return c:add(2):add('3').total", 6),
        ("return #t.counter(5)", 5),
        ("return t.counter(5) == t.counter(5), 1", True),
        ("return t.counter(5) == t.counter(6)", False),
        ("return t.counter(5) == {}", False),
        ("return (t.counter(5) + t.counter(6)).total", 11),
        ("return (t.counter(5) + 6).total", 11),
        ("return tostring(t.counter(5))", "counter"),
        ("return t.value_of(t.opaque())", 7),
        ("return tostring(t.opaque())", "thing"),
        ("return t.twice(function(x) return x * 3 end, 2)", 18),
        ("local ok, e = pcall(t.twice, function() error('mine', 0) end, 2) return e", "mine"),
        ("return t.raw('text', { k = 'v' })", "bytesbytes"),
        ("return t.compose()(4)[2].total", 4),
        ("return tostring(t.counter(1).nothing)", "nil"),
        ("local c = t.counter(1) local same = { c } return same[1] == c", True),
    ],
)
def test_facades_and_functions(counters: Callable[[str], object], source: str, result: object) -> None:
    """Objects have the methods, fields and operators they declare; functions go both ways."""
    assert counters(source) == result


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("return t.twice(function(n) return n + 1 end, 1, 'more', {})", 3),
        ("return t.counter(1, 2, 3).total", 1),
        ("return t.counter(1):add(string.gsub('5', 'a', 'b')).total", 6),
    ],
)
def test_arguments_too_many_are_dropped(counters: Callable[[str], object], source: str, result: object) -> None:
    """As everywhere in Lua: `string.gsub` as the last argument passes two, of which one is wanted."""
    assert counters(source) == result


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("t.counter(1):fail()", r"policy\.lua:2: no more"),
        ("return t.counter(1):fail()", r"policy\.lua:1: no more"),
        ("t.counter(1):add()", r"wrong number of arguments: counter:add\(more\)"),
        ("t.counter(1):add({})", r"policy\.lua:2: more must be a string, got a table"),
        ("t.counter(1).add('x')", r"must be called with a colon"),
        ("t.counter(1).total = 2", r"policy\.lua:2: cannot set total of a counter"),
        ("t.twice(1, 2)", r"function must be a function, got a number"),
    ],
)
def test_mistakes_are_named_with_file_and_line(counters: Callable[[str], object], source: str, error: str) -> None:
    """A tail call leaves no line in Lua; then the line where the handler begins stands in."""
    with pytest.raises(PolicyError, match=error):
        counters(source)


def test_json_values() -> None:
    """What metadata may hold: JSON, and nothing else."""
    assert json_value({"a": [1, 2.5, None, True, "x"]}, "it") == {"a": [1, 2.5, None, True, "x"]}
    for value in (b"\xff", Counter(), print, [Counter()]):
        with pytest.raises(ValueError, match="cannot be kept as JSON"):
            json_value(value, "it")


def test_a_function_may_ask_where_it_was_called() -> None:
    """File and line of the policy, in a function of its own as well; a tail call leaves the handler's beginning."""
    bridge = Bridge(Settings(), {})
    bridge.engine.install("", {"here": lambda mark: Placed(lambda place: (mark, place))})
    source = """local kumo = require 'kumo'
      kumo.on('place', function()
        local mark, place = kumo.here 'x'
        local function inner()
          local _, at = kumo.here 'z'
          return at
        end
        return mark, place, inner(), select(2, kumo.here 'z')
      end)
      kumo.on('tail', function() return kumo.here 'y' end)"""
    now(bridge.main(source.encode(), "policy.lua"))
    assert now(bridge.fire("place")) == ["x", "policy.lua:3: ", "policy.lua:5: ", "policy.lua:8: "]
    assert now(bridge.fire("tail")) == ["y", "policy.lua:10: "]

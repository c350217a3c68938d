"""Handlers that wait: they hold up nobody, wherever in Lua they wait."""

from __future__ import annotations

import pytest
from support.lua import Bench, now
from twisted.internet.defer import CancelledError, Deferred

from kumotwist.core.errors import PolicyError, Rejection


def _start(bench: Bench, source: str, **events: str) -> Deferred[object]:
    policy = bench.policy(f"kumo.on('go', function(...) {source}\nend)")
    return Deferred.fromCoroutine(policy.run_event("go"))


def _result(work: Deferred[object]) -> object:
    return now(_await(work))


async def _await(work: Deferred[object]) -> object:
    return await work


@pytest.mark.parametrize(
    "source",
    [
        "return kumo.wait 'a'",
        "local ok, value = pcall(kumo.wait, 'a') return value",
        "local ok, value = xpcall(function() return kumo.wait 'a' end, debug.traceback) return value",
        "for i = 1, 3 do if i == 2 then return kumo.wait 'a' end end",
        "local function deep(n) if n == 0 then return kumo.wait 'a' end return (deep(n - 1)) end return deep(50)",
        "return setmetatable({}, { __index = function() return kumo.wait 'a' end }).x",
        "return setmetatable({}, { __call = function() return kumo.wait 'a' end })()",
        "return setmetatable({}, { __add = function() return kumo.wait 'a' end }) + 1",
        "local v for x in function(_, c) if not c then return kumo.wait 'a' end end do v = x end return v",
        "return coroutine.wrap(function() return kumo.wait 'a' end)()",
        "local co = coroutine.create(function() return kumo.wait 'a' end) return select(2, coroutine.resume(co))",
        "return coroutine.wrap(function() return coroutine.wrap(function() return (kumo.wait 'a') end)() end)()",
        "local co = coroutine.wrap(function(x) coroutine.yield(x + 1) return kumo.wait 'a' end) co(1) return co(2)",
        "local f = load('return ...') return f(kumo.wait 'a')",
        "do local x <close> = setmetatable({}, { __close = function() V = kumo.wait 'a' end }) end return V",
        "package.preload.m = function() return { v = kumo.wait 'a' } end return require('m').v",
    ],
)
def test_waiting_works_everywhere_in_lua(bench: Bench, source: str) -> None:
    """pcall, loops, nested functions, metamethods, iterators, the policy's own coroutines, modules: all may wait."""
    work = _start(bench, source)
    assert not work.called
    bench.waits.end("a", "value")
    assert _result(work) == "value"


@pytest.mark.parametrize(
    "source",
    [
        "table.sort({ 3, 2, 1 }, function(a, b) kumo.wait 'a' return a < b end)",
        "string.gsub('abc', '.', function() kumo.wait 'a' end)",
        "tostring(setmetatable({}, { __tostring = function() kumo.wait 'a' end }))",
        "table.sort({ 2, 1 }, function(a, b) coroutine.wrap(function() kumo.wait 'a' end)() return a < b end)",
    ],
)
def test_waiting_where_lua_cannot_is_a_clear_error(bench: Bench, source: str) -> None:
    """Inside a call that goes through C the error says what is not possible, and nothing is left hanging."""
    work = _start(bench, source)
    with pytest.raises(PolicyError, match=r"policy\.lua:1: this function waits, which is not possible inside"):
        _result(work)
    assert not bench.waits.waiting


def test_errors_of_operations_are_lua_errors(bench: Bench) -> None:
    """pcall around a waiting call sees its error, with file and line."""
    work = _start(bench, "local ok, err = pcall(function() kumo.wait 'a' end) return tostring(ok) .. ' ' .. err")
    bench.waits.end("a", ValueError("no luck"))
    assert str(_result(work)).startswith("false ")
    assert str(_result(_start(bench, "return 1"))) == "1"


def test_a_rejection_survives_pcall_and_error(bench: Bench) -> None:
    """kumo.reject caught by pcall and raised again with error(err) still rejects; tostring gives code and text."""
    work = _start(
        bench,
        "local ok, err = pcall(function() kumo.wait 'a' kumo.reject(451, '4.7.1 later') end)\n"
        "assert(tostring(err) == '451 4.7.1 later', tostring(err))\n"
        "error(err)",
    )
    bench.waits.end("a")
    with pytest.raises(Rejection) as rejected:
        _result(work)
    assert (rejected.value.code, rejected.value.text, rejected.value.disconnect) == (451, "4.7.1 later", False)


@pytest.mark.parametrize(
    ("call", "disconnect", "follow"),
    [
        ("kumo.reject(421, 'x')", True, False),
        ("kumo.reject(550, 'x')", False, False),
        ("kumo.disconnect(550, 'x')", True, False),
        ("kumo.disconnect(550, 'x', 'If421')", False, False),
        ("kumo.disconnect(550, 'x', 'FollowWith421')", True, True),
    ],
)
def test_reject_and_disconnect_say_what_becomes_of_the_connection(
    bench: Bench, call: str, disconnect: bool, follow: bool
) -> None:
    """kumo.disconnect ends the connection by default, kumo.reject with 421 only."""
    with pytest.raises(Rejection) as rejected:
        _result(_start(bench, call))
    assert (rejected.value.disconnect, rejected.value.follow_with_421) == (disconnect, follow)


def test_thousands_wait_at_once(bench: Bench) -> None:
    """Handlers wait side by side, each gets its own result, in any order."""
    policy = bench.policy("kumo.on('go', function(name) local v = kumo.wait(name) return name .. v end)")
    names = [f"n{number}" for number in range(3000)]
    works = [Deferred.fromCoroutine(policy.run_event("go", [name])) for name in names]
    for name in reversed(names):
        bench.waits.end(name, f"={name}")
    assert [_result(work) for work in works] == [f"{name}={name}" for name in names]


def test_a_cancelled_handler_is_dropped(bench: Bench) -> None:
    """A session that goes away cancels its handler; the operation is cancelled and the policy goes on."""
    policy = bench.policy(
        "kumo.on('go', function() kumo.wait 'a' RESUMED = true end) kumo.on('v', function() return RESUMED end)"
    )
    work = Deferred.fromCoroutine(policy.run_event("go"))
    work.cancel()
    with pytest.raises(CancelledError):
        _result(work)
    assert now(policy.run_event("v")) is None


def test_an_operation_may_run_policy_itself(bench: Bench) -> None:
    """A handler whose operation runs another event (as injecting a message does) gets there."""

    class Nested:
        namespace = "nested"

        def functions(self) -> dict[str, object]:
            return {"run": self.run, "call": self.call}

        async def run(self, name: str) -> object:
            return await policy.run_event(name)

        async def call(self, function: object, value: object) -> object:
            return await function(value)  # type: ignore[operator]

    bench.libraries = (Nested(),)  # type: ignore[assignment]
    policy = bench.policy(
        "kumo.on('outer', function() return 'outer ' .. kumo.nested.run 'inner' end)\n"
        "kumo.on('inner', function() return 'inner ' .. kumo.nested.call(function(v) return v * 2, 'x' end, 21) end)"
    )
    assert now(policy.run_event("outer")) == "outer inner 42"


def test_the_event_name_is_kept_across_waits(bench: Bench) -> None:
    """_KUMO_CURRENT_EVENT names the event that runs, also after another one ran meanwhile."""
    policy = bench.policy(
        "kumo.on('a', function() kumo.wait 'a' return _KUMO_CURRENT_EVENT end)\n"
        "kumo.on('b', function() return _KUMO_CURRENT_EVENT end)"
    )
    work = Deferred.fromCoroutine(policy.run_event("a"))
    assert now(policy.run_event("b")) == "b"
    bench.waits.end("a")
    assert _result(work) == "a"

"""A handler that loops for ever is stopped, and the daemon lives."""

from __future__ import annotations

import pytest
from support.lua import Bench, now

from kumotwist.core.errors import PolicyTimeout

LOOPS = [
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "while true do pcall(error, 'x') end",
    "local function f() return f() end f()",
    "xpcall(function() while true do end end, function() while true do end end)",
    "coroutine.wrap(function() while true do end end)()",
    "while true do pcall(coroutine.wrap(function() while true do end end)) end",
    "local co = coroutine.create(function() while true do coroutine.yield() end end)\n"
    "while true do coroutine.resume(co) end",
    "local co = coroutine.create(function()\n"
    "  local x <close> = setmetatable({}, { __close = function() while true do end end })\n"
    "  while true do end end)\n"
    "coroutine.resume(co) coroutine.close(co) while true do end",
    "local x <close> = setmetatable({}, { __close = function() while true do end end }) while true do end",
    "table.sort({ 1, 2, 3 }, function() while true do end end)",
    "string.gsub('x', 'x', function() while true do end end)",
    "for _ in function() return 1 end do end",
    "load(function() return ' ' end)",
    "goto again ::again:: goto again",
]


@pytest.mark.parametrize("source", LOOPS)
def test_an_endless_handler_is_stopped(bench: Bench, source: str) -> None:
    """However it loops, it ends with an error that names file and line, and the next event runs."""
    bench.cpu_budget = 0.05
    policy = bench.policy(f"kumo.on('go', function()\n{source}\nend) kumo.on('ok', function() return 'ok' end)")
    with pytest.raises(PolicyTimeout, match=r"policy\.lua:\d+: used more than 0\.05 s of CPU time"):
        now(policy.run_event("go"))
    assert now(policy.run_event("ok")) == "ok"


def test_a_stopped_coroutine_stays_stopped(bench: Bench) -> None:
    """What was left of it does not run later, when nothing watches it."""
    bench.cpu_budget = 0.05
    policy = bench.policy(
        "kumo.on('go', function() CO = coroutine.running()\n"
        "  INNER = coroutine.create(function()\n"
        "    local x <close> = setmetatable({}, { __close = function() while true do end end })\n"
        "    while true do end end)\n"
        "  coroutine.resume(INNER) end)\n"
        "kumo.on('close', function()\n"
        "  return tostring(pcall(coroutine.close, INNER)) .. tostring(pcall(coroutine.close, CO)) end)"
    )
    with pytest.raises(PolicyTimeout):
        now(policy.run_event("go"))
    assert now(policy.run_event("close")) == "falsefalse"


def test_waiting_starts_the_budget_anew(bench: Bench) -> None:
    """The budget counts CPU time between two waits, so a loop that waits now and then may go on for ever."""

    class AtOnce:
        namespace = "at_once"

        def functions(self) -> dict[str, object]:
            return {"wait": self.wait}

        async def wait(self) -> None:
            return None

    bench.cpu_budget = 0.25
    bench.libraries = (AtOnce(),)  # type: ignore[assignment]
    policy = bench.policy(
        "kumo.on('go', function() local started = os.clock()\n"
        "  repeat for j = 1, 20000 do end kumo.at_once.wait() until os.clock() - started > 0.6\n"
        "  return 'done' end)"
    )
    assert now(policy.run_event("go")) == "done"

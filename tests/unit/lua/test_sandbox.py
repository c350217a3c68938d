"""What a policy can reach, whatever it does: never a Python object, never the host's own functions or frames."""

from __future__ import annotations

import time
from collections.abc import Iterable

import lupa.lua54
import pytest

from kumotwist.core.address import EnvelopeAddress, parse_address
from kumotwist.core.connection import ConnectionMeta
from kumotwist.core.errors import PolicyError
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.lua.address import ENVELOPE_ADDRESS
from kumotwist.lua.binding import facade
from kumotwist.lua.bridge import Bridge
from kumotwist.lua.connection import CONNECTION
from kumotwist.lua.engine import Settings
from kumotwist.lua.message import message_class
from kumotwist.lua.optionsview import OPTION_CLASSES
from kumotwist.spool.memory import MemoryStore


@facade(
    "victim",
    methods=("chain", "fail", "crash", "table", "wait", "call", "echo"),
    fields=("name", "broken"),
    meta={"__pairs": "entries", "__len": "size", "__index": "lookup", "__tostring": "crash", "__eq": "same"},
)
class Victim:
    """An object with every kind of member, many of which fail."""

    name = "victim"

    @property
    def broken(self) -> str:
        raise RuntimeError("a defect")

    def chain(self, *_: object) -> Victim:
        return self

    def fail(self, *_: object) -> None:
        raise ValueError("expected")

    def crash(self, *_: object) -> str:
        raise RuntimeError("a defect")

    def table(self, *_: object) -> object:
        return {"victims": [Victim(), Victim()], "fn": self.chain, "n": 1 << 80}

    async def wait(self, *_: object) -> Victim:
        return self

    def call(self, *_: object) -> object:
        return self.table

    def echo(self, *values: object) -> tuple[object, ...]:
        return values

    def entries(self) -> Iterable[tuple[str, object]]:
        return [("victim", Victim()), ("crash", self.crash)]

    def size(self) -> int:
        return 1 << 70

    def lookup(self, key: object) -> object:
        return Victim() if key == "another" else None

    def same(self, other: object) -> bool:
        return self is other


class VictimLibrary:
    namespace = "test"

    def functions(self) -> dict[str, object]:
        return {
            "victim": Victim,
            "str_subclass": lambda: type("Text", (str,), {})("text"),
            "unknown": object,
            "exit": self.exit,
            "deep": lambda: _deep(100),
        }

    def exit(self) -> None:
        raise SystemExit(1)


def _deep(levels: int) -> object:
    value: object = Victim()
    for _ in range(levels):
        value = [value]
    return value


#: Visits everything that can be reached from a value, calls what can be called, keeps what comes back or is raised.
WALKER = r"""
local kumo = require 'kumo'
local type, next, pairs, pcall, select, tostring = type, next, pairs, pcall, select, tostring
local getmetatable, io_type, rawequal = getmetatable, io.type, rawequal
local real_debug, real_coroutine = debug, coroutine
local leaks = {}
local seen = {}
local queue, head = {}, 1

local function visit(value, path)
  local kind = type(value)
  if kind == 'userdata' then
    if io_type(value) == nil then leaks[#leaks + 1] = path end
    return
  end
  if (kind == 'table' or kind == 'function' or kind == 'thread') and not seen[value] and not rawequal(value, leaks)
      and not rawequal(value, seen) and not rawequal(value, queue) then
    seen[value] = true
    queue[#queue + 1] = { value, path }
  end
end

local function visit_all(path, ...)
  for i = 1, select('#', ...) do visit((select(i, ...)), path .. '#' .. i) end
end

local NEVER = {}
for _, fn in pairs { io.read, io.lines, io.input, io.popen, io.open, io.close, io.output, io.tmpfile, io.write,
    os.execute, os.remove, os.rename, os.tmpname, print, dofile, loadfile, collectgarbage, warn, string.rep,
    coroutine.yield, kumo.on, require, table.move } do
  NEVER[fn] = true
end

local function weird()
  return setmetatable({}, {
    __index = function(...) visit_all('weird.__index', ...) return 'x' end,
    __newindex = function(...) visit_all('weird.__newindex', ...) end,
    __eq = function(...) visit_all('weird.__eq', ...) return true end,
    __lt = function(...) visit_all('weird.__lt', ...) return true end,
    __len = function(...) visit_all('weird.__len', ...) return 3 end,
    __call = function(...) visit_all('weird.__call', ...) end,
    __concat = function(...) visit_all('weird.__concat', ...) return 'x' end,
    __tostring = function(...) visit_all('weird.__tostring', ...) return 'weird' end,
    __pairs = function(...) visit_all('weird.__pairs', ...) return next, {}, nil end,
    __close = function(...) visit_all('weird.__close', ...) end,
    __name = 'POBJECT',
  })
end

local function snoop()
  for level = 0, 40 do
    for _, what in pairs { 'nSltufrL', 'f' } do
      local ok, info = pcall(real_debug.getinfo, level, what)
      if ok and info then visit(info, 'getinfo') end
    end
    for index = -3, 12 do
      visit_all('getlocal', pcall(real_debug.getlocal, level, index))
      visit_all('setlocal', pcall(real_debug.setlocal, level, index, 1))
    end
  end
  visit_all('registry', pcall(real_debug.getregistry))
  visit_all('hook', pcall(real_debug.gethook))
  visit_all('sethook', pcall(real_debug.sethook, function(...) visit_all('hooked', ...) end, 'crl', 1))
  visit_all('running', real_coroutine.running())
end

local budget = 1500
local function call(fn, path)
  if NEVER[fn] or budget < 0 then return end
  budget = budget - 1
  local victim = kumo.test.victim()
  local w = weird()
  local variants = {
    {}, { victim }, { w }, { victim, w }, { w, w, w }, { 'x' }, { 1, 2 }, { snoop }, { snoop, w }, { fn },
    { victim, victim, victim }, { real_coroutine.create(snoop) }, { {} , { __index = snoop } }, { victim, snoop },
  }
  for i = 1, #variants do
    visit_all(path .. '(' .. i .. ')', pcall(fn, table.unpack(variants[i])))
    visit_all(path .. '(x' .. i .. ')', xpcall(fn, function(e)
      visit(e, path .. ' error')
      snoop()
      return e
    end, table.unpack(variants[i])))
  end
end

local OWN = real_debug.getinfo(call, 'S').source
local function is_ours(fn)
  return real_debug.getinfo(fn, 'S').source == OWN
end

local function expand(value, path)
  visit_all(path .. ' metatable', getmetatable(value))
  visit_all(path .. ' debug.metatable', pcall(real_debug.getmetatable, value))
  for index = 1, 5 do visit_all(path .. ' uservalue', pcall(real_debug.getuservalue, value, index)) end
  if type(value) == 'table' then
    local key, item = nil, nil
    repeat
      key, item = next(value, key)
      visit(key, path .. '.key')
      visit(item, path .. '.' .. (type(key) == 'string' and key or 'item'))
    until key == nil
    pcall(function()
      for k, v in pairs(value) do
        visit(k, path .. ' pairs key')
        visit(v, path .. ' pairs value')
      end
    end)
    visit_all(path .. ' tostring', pcall(tostring, value))
    visit_all(path .. ' len', pcall(function() return #value end))
    visit_all(path .. ' eq', pcall(function() return value == weird(), weird() == value end))
    visit_all(path .. ' concat', pcall(function() return value .. weird() end))
    for _, name in pairs { 'name', 'broken', 'chain', 'another', '__class__', '__dict__', '__init__', 'user',
        'email', 'get_meta', 'get_data', 'sender', 1, true, weird() } do
      visit_all(path .. ' index', pcall(function() return value[name] end))
      visit_all(path .. ' newindex', pcall(function() value[name] = snoop end))
    end
  elseif type(value) == 'function' then
    for index = 1, 60 do
      visit_all(path .. ' upvalue', pcall(real_debug.getupvalue, value, index))
      visit_all(path .. ' param', pcall(real_debug.getlocal, value, index))
      visit_all(path .. ' upvalueid', (select(2, pcall(real_debug.upvalueid, value, index))) == nil)
    end
    if is_ours(value) then return end
    visit_all(path .. ' setupvalue', pcall(real_debug.setupvalue, value, 1, value))
    visit_all(path .. ' getinfo', pcall(real_debug.getinfo, value, 'nSltufrL'))
    local ok, dumped = pcall(string.dump, value)
    if ok then visit_all(path .. ' dumped', pcall(load, dumped, 'd', 'b'), pcall(load, dumped)) end
    call(value, path)
  elseif type(value) == 'thread' then
    visit_all(path .. ' resume', pcall(real_coroutine.resume, value, weird()))
    visit_all(path .. ' close', pcall(real_coroutine.close, value))
    visit_all(path .. ' traceback', pcall(real_debug.traceback, value))
    visit_all(path .. ' status', pcall(real_coroutine.status, value))
    for level = 0, 5 do
      visit_all(path .. ' thread info', pcall(real_debug.getinfo, value, level, 'f'))
      visit_all(path .. ' thread local', pcall(real_debug.getlocal, value, level, 1))
    end
  end
end

return function(start)
  for name, value in pairs(start) do visit(value, name) end
  while queue[head] and head < 6000 do
    local entry = queue[head]
    queue[head] = false
    head = head + 1
    expand(entry[1], entry[2])
  end
  return leaks, head
end
"""


def _run(coroutine: object) -> object:
    """Run a coroutine that does not wait."""
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits")


def _bridge(policy: str, **settings: object) -> Bridge:
    store = MemoryStore()
    classes = {
        Message: message_class(store, time.time),
        ConnectionMeta: CONNECTION,
        EnvelopeAddress: ENVELOPE_ADDRESS,
        **OPTION_CLASSES,
    }
    bridge = Bridge(Settings(cpu_budget=30.0, write=lambda _: None, **settings), classes)  # type: ignore[arg-type]
    bridge.engine.install("test", VictimLibrary().functions())  # type: ignore[arg-type]
    _run(bridge.main(policy.encode(), "policy.lua"))
    bridge.engine.registered()
    return bridge


def _message() -> Message:
    address = parse_address("user@example.com")
    return Message(IdGenerator(time.time)(), address, (address, address), {"a": {"b": [1]}}, b"Subject: x\r\n\r\nx")


def _fire(source: str, **settings: object) -> object:
    """What a handler with this body returns; it gets a message, a connection and a victim."""
    policy = "local kumo = require 'kumo'\nkumo.on('test', function(msg, conn, victim)\n" + source + "\nend)"
    results = _run(_bridge(policy, **settings).fire("test", _message(), ConnectionMeta(), Victim()))
    assert isinstance(results, list)
    return results[0] if len(results) == 1 else tuple(results)


@pytest.fixture(autouse=True)
def _no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defects of the victims are logged as failures on purpose."""
    monkeypatch.setattr("kumotwist.lua.convert.log.failure", lambda *_, **__: None)


def test_nothing_reachable_is_a_python_object() -> None:
    """A policy that walks everything it can reach, calling all of it with hostile arguments, finds no host object."""
    policy = (
        "local walk = (function()\n" + WALKER + "\nend)()\n"
        "local kumo = require 'kumo'\n"
        "kumo.on('test', function(msg, conn, victim)\n"
        "  return walk { msg = msg, conn = conn, victim = victim, kumo = kumo, G = _G, loaded = package.loaded,\n"
        "    sender = msg:sender(), list = msg:recipient_list(), strings = getmetatable(''),\n"
        "    searchers = package.searchers, gmatch = string.gmatch('a', 'a'), lines = io.lines and nil,\n"
        "    wrapped = coroutine.wrap(function() victim:wait() coroutine.yield(victim) end) }\n"
        "end)"
    )
    results = _run(_bridge(policy).fire("test", _message(), ConnectionMeta(), Victim()))
    leaks, visited = results  # type: ignore[misc]
    assert leaks in ({}, [])
    assert visited > 100


def test_the_walker_would_find_one() -> None:
    """The test above can fail: a Python object that is smuggled in is found, and even that one is inert."""
    policy = (
        "local walk = (function()\n" + WALKER + "\nend)()\n"
        "require('kumo').on('test', function(smuggled)\n"
        "  local ok = pcall(function() return smuggled.__class__ end) or pcall(smuggled)\n"
        "  return #walk { deep = { { hidden = smuggled } } }, ok, tostring(smuggled)\n"
        "end)"
    )
    bridge = _bridge(policy)
    entry = bridge.engine.entry("test", None)
    leaks, usable, text = _run(bridge.enter("test", entry, object()))  # type: ignore[misc]
    assert leaks > 0
    assert usable is False
    assert text.startswith("host object")


@pytest.mark.parametrize(
    "source",
    [
        "return python == nil and package.loaded.python == nil and package.preload.python == nil",
        "return getmetatable(msg) == false and getmetatable(victim) == false and debug.getmetatable(msg) == false",
        "return next(msg) == nil and rawlen(msg) == 0 and next(victim) == nil",
        "return not pcall(setmetatable, msg, {}) and not pcall(debug.setmetatable, msg, {})",
        "return not pcall(function() msg.get_meta = 1 end)",
        "return select('#', debug.getlocal(1, 1)) <= 1 and not debug.getlocal(2, 1)",
        "return not pcall(debug.getupvalue, msg.get_meta, 1)",
        "return not pcall(debug.upvaluejoin, function() return msg end, 1, msg.get_meta, 1)",
        "return not pcall(debug.getregistry) and not pcall(debug.sethook)",
        "return debug.getinfo(msg.get_meta).func == nil and debug.getinfo(print, 'f').func == nil",
        "return load(string.dump(function() end)) == nil and load('\\27Lua') == nil",
        "return load(function() return nil end, 'x', 'b') == nil",
        "return not pcall(package.loadlib, '/lib/x.so', 'luaopen_debug')",
        "return not pcall(setmetatable, {}, { __gc = function() end })",
        "return not pcall(os.exit)",
        "local ok, err = pcall(victim.crash, victim) return not ok and type(err) == 'string'",
        "local ok, err = pcall(victim.fail, victim) return not ok and type(err) == 'string'",
        "local ok, err = pcall(kumo.test.exit) return not ok and type(err) == 'string'",
        "local ok, err = pcall(kumo.test.unknown) return not ok and type(err) == 'string'",
        "local ok, err = pcall(kumo.test.deep) return not ok or type(err) == 'table'",
        "return type(kumo.test.str_subclass()) == 'string'",
        "local ok, err = pcall(tostring, victim) return not ok and type(err) == 'string'",
        "local ok, err = pcall(function() return victim.broken end) return not ok and type(err) == 'string'",
        "return type(victim:table().n) == 'number' and math.type(#victim) == 'float'",
        "return not pcall(victim.chain, msg) and not pcall(msg.get_meta, victim, 'a')",
        "return not pcall(victim.echo, victim, coroutine.create(print)) and not pcall(victim.echo, victim, io.stdout)",
        "local t = {} t.t = t return not pcall(victim.echo, victim, t)",
        "return not pcall(coroutine.resume, 1) and not coroutine.resume((coroutine.running()))",
        "return not pcall(coroutine.yield, 1) and not pcall(coroutine.close, (coroutine.running()))",
    ],
)
def test_single_attacks_fail(source: str) -> None:
    """Each of these is refused, or gives a plain value."""
    assert _fire(source) is True


def test_own_libraries_cannot_be_opened_anew_through_require() -> None:
    """`require 'debug'` with a C library that has luaopen_debug does not bring the real one back."""
    library = lupa.lua54.__file__
    source = f"""
      package.cpath = '{library}'
      package.loaded.debug, package.loaded.package = nil, nil
      local ok, err = pcall(require, 'debug')
      local ok_2, err_2 = pcall(require, 'x-debug')
      local ok_3 = pcall(require, 'package')
      return ok, ok_2, ok_3
    """
    assert _fire(source) == (False, False, False)


def test_replacing_the_standard_library_does_not_show_the_host_to_the_policy() -> None:
    """Our own Lua uses nothing that a policy can replace: spies in every place see no host object."""
    source = """
      local found, type, select, pairs, rawget = {}, type, select, pairs, rawget
      local function spy(original)
        return function(...)
          for i = 1, select('#', ...) do
            if type((select(i, ...))) == 'userdata' then found[#found + 1] = 'userdata' end
          end
          return original(...)
        end
      end
      local all = { _G, string, table, math, coroutine, debug, package, utf8, getmetatable('').__index }
      for i = 1, #all do
        for name, value in pairs(all[i]) do
          if type(value) == 'function' then all[i][name] = spy(value) end
        end
      end
      setmetatable(_G, { __index = spy(function() end), __newindex = spy(function() end) })
      victim:chain(1):table() victim:wait() msg:set_meta('k', { 1, { a = 2 } }) msg:get_meta 'k'
      pcall(victim.fail, victim) pcall(kumo.test.exit) victim:echo({ victim, msg }, 'x', {})
      for _ in pairs(victim) do end
      local co = coroutine.wrap(function() victim:wait() end) co()
      return #found
    """
    assert _fire(source) == 0


def test_values_that_lie_about_themselves_cannot_fake_results() -> None:
    """Metamethods of a policy's tables never meet our markers: tables cross raw."""
    source = """
      local calls = 0
      local function count() calls = calls + 1 return true end
      local liar = setmetatable({ 1, 2 }, { __eq = count, __index = count, __len = count, __pairs = count,
        __call = count })
      local back = victim:echo(liar, { liar })
      return back[2], calls
    """
    assert _fire(source) == (2, 0)


def test_an_error_object_with_a_hostile_tostring_is_described_and_stopped() -> None:
    """The text of an error object is made under the budget too."""
    policy = """
      require('kumo').on('loop', function()
        error(setmetatable({}, { __tostring = function() while true do end end }))
      end)
      require('kumo').on('nested', function()
        error(setmetatable({}, { __tostring = function() error('again') end }))
      end)
    """
    bridge = Bridge(Settings(cpu_budget=0.05), {})
    _run(bridge.main(policy.encode(), "policy.lua"))
    for event in ("loop", "nested"):
        with pytest.raises(PolicyError, match="error object of type table"):
            _run(bridge.fire(event))


def test_memory_is_bounded() -> None:
    """A policy that eats memory gets a Lua error; the daemon and other handlers go on."""
    policy = """
      local kumo = require 'kumo'
      kumo.on('string', function() return #string.rep('x', 1 << 30) end)
      kumo.on('table', function() local t = {} while true do t[#t + 1] = { #t } end end)
      kumo.on('hoard', function()
        HOARD = HOARD or {}
        while true do HOARD[#HOARD + 1] = ('x'):rep(100000 + #HOARD) end
      end)
      kumo.on('drop', function() HOARD = nil end)
      kumo.on('fine', function(v) return v end)
    """
    bridge = _bridge(policy, memory=96 << 20)
    for event in ("string", "table", "hoard"):
        with pytest.raises(PolicyError, match="memory"):
            _run(bridge.fire(event))
    with pytest.raises(PolicyError, match="used up its memory"):
        _run(bridge.fire("fine", 1))


def test_a_caught_lack_of_memory_leaves_the_policy_usable() -> None:
    """pcall around something too big works as for every other error."""
    assert _fire("return (pcall(string.rep, 'x', 1 << 30))", memory=64 << 20) is False
    source = """
      local data = ('x'):rep(20 << 20)
      return (pcall(function() for i = 1, 9 do data = data .. victim:echo(data) end end))
    """
    assert _fire(source, memory=128 << 20) is False

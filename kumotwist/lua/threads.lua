-- Running policy code: every handler is a coroutine from a pool, every coroutine has an instruction hook that
-- enforces the CPU budget, and a host operation suspends the whole handler, however many coroutines of the
-- policy's own lie in between.
local raw, values, shown, abandon, cpu_seconds, budget, counts_lines = ...

local close, create, isyieldable, resume, running, status, yield = raw.close, raw.create, raw.isyieldable,
  raw.resume, raw.running, raw.status, raw.yield
local error, format, getinfo, next, select, sethook, setmetatable, tostring, traceback, type = raw.error, raw.format,
  raw.getinfo, raw.next, raw.select, raw.sethook, raw.setmetatable, raw.tostring, raw.traceback, raw.type
local WAIT, FAIL, tokens_of, sendable, keep, rejections = values.WAIT, values.FAIL, values.tokens_of,
  values.sendable, values.keep, values.rejections
cpu_seconds = raw.as_function(cpu_seconds)
abandon = raw.as_function(abandon)

local DONE, WAITING, ERROR, REJECTED, TIMEOUT = 0, 1, 2, 3, 4 -- what Python sees; see bridge.py

local CADENCE = 10000 -- VM instructions between two looks at the clock: about 0.1 ms
local POOL_SIZE = 256 -- idle coroutines kept; about 1 KiB each

-- == Budget ==========================================================================================
-- `over` holds the error text from the moment that the budget is spent until control is back in Python. From
-- then on every coroutine that runs is hooked at each instruction, so no pcall loop survives it.

local started, over
local armed = setmetatable({}, { __mode = "k" })
-- Stopped by the budget: Lua leaves hooks off in them for ever, so nothing of theirs (a __close) may run again.
local killed = setmetatable({}, { __mode = "k" })

local MASK = counts_lines and "l" or ""
local lines = {} -- by source: the lines that ran, each with its number as key

local LINES = 1000 -- lines that are noted between two looks at the clock
local until_look = LINES

local function note_line(line)
  local source = getinfo(3, "S").source
  if source ~= raw.SOURCE then
    local of_source = lines[source]
    if not of_source then
      of_source = {}
      lines[source] = of_source
    end
    of_source[line] = true
  end
end

local function hook(kind, line)
  if kind == "line" then
    note_line(line)
    -- The instructions of this hook count as well, and most looks at the clock fall on one of them and are lost.
    until_look = until_look - 1
    if until_look > 0 then
      return
    end
    until_look = LINES
  end
  local current = running()
  if over then
    armed[current] = true
    sethook(hook, "", 1)
    error(over, 0)
  end
  if armed[current] then
    armed[current] = nil
    sethook(hook, MASK, CADENCE)
  end
  local now = cpu_seconds()
  if not started then
    started = now
  elseif now - started > budget then
    over = format("%sused more than %g s of CPU time without waiting, and was stopped", values.where(), budget)
    armed[current] = true
    sethook(hook, "", 1)
    error(over, 0)
  end
end

local function check_over()
  if over then
    armed[running()] = true
    sethook(hook, "", 1)
    error(over, 0)
  end
end

local function hooked(fn)
  local co = create(fn)
  sethook(co, hook, MASK, CADENCE)
  return co
end

-- == Handlers ========================================================================================

local handlers = setmetatable({}, { __mode = "k" }) -- coroutines that are ours, and the function each runs
local origins = setmetatable({}, { __mode = "k" }) -- of functions that stand for a chain: the first of it
local pool, spare = {}, 0
local current -- the one that Python entered last
local waiting = {} -- by operation id: {coroutine, event, wants to keep}
local event_changed -- set by environment.lua: notes the event in _KUMO_CURRENT_EVENT

-- The body of a pooled coroutine: runs a function, hands out its results, waits for the next.
local function loop(fn, ...)
  return loop(yield(DONE, fn(...)))
end

-- Where `error` was called; Lua itself says so of strings only.
local function place_in(co)
  local level = 0
  local facts = getinfo(co, level, "Sl")
  while facts and (facts.currentline < 0 or facts.source == raw.SOURCE) do
    level = level + 1
    facts = getinfo(co, level, "Sl")
  end
  return facts and format("%s:%d: ", facts.short_src, facts.currentline) or ""
end

local function describe(err, co)
  if type(err) == "string" then
    return err
  end
  -- A __tostring of the policy's may do anything, so it runs under the budget as well.
  local ok, text = resume(hooked(tostring), err)
  return place_in(co) .. (ok and shown(err, text) or format("an error object of type %s", type(err)))
end

local function failed(co, err)
  handlers[co] = nil
  if over then
    killed[co] = true
    return TIMEOUT, over, traceback(co)
  end
  local facts = type(err) == "table" and rejections[err]
  if facts then
    return REJECTED, facts[1], facts[2], facts[3], facts[4]
  end
  return ERROR, describe(err, co), traceback(co)
end

local function exported(out, n)
  if not out then
    return ERROR, n, ""
  end
  return DONE, sendable(out, n)
end

local function settle(co, event, keeps, ok, tag, ...)
  if not ok then
    return failed(co, tag)
  end
  if tag == WAIT then
    local id = ...
    waiting[id] = { co, event, keeps }
    return WAITING, id
  end
  if over then
    return TIMEOUT, over, ""
  end
  if spare < POOL_SIZE then
    spare = spare + 1
    pool[spare] = co
  end
  if keeps then
    local value = ...
    if type(value) == "table" then
      return DONE, keep(value)
    end
    return DONE, nil, type(value)
  end
  if select("#", ...) == 0 then
    return DONE
  end
  return exported(tokens_of(...))
end

-- Run `fn` as the handler of `event`. With `keeps`, a table that it returns stays here and Python gets its id.
local function run(event, keeps, fn, ...)
  local co
  if spare > 0 then
    co = pool[spare]
    pool[spare] = nil
    spare = spare - 1
  else
    co = hooked(loop)
  end
  handlers[co] = origins[fn] or fn
  started, over, current = nil, nil, co
  event_changed(event)
  return settle(co, event, keeps, resume(co, fn, ...))
end

-- Python has the result of operation `id`; the rest are its tokens.
local function continue(id, ...)
  local entry = waiting[id]
  waiting[id] = nil
  local co, event = entry[1], entry[2]
  started, over, current = nil, nil, co
  event_changed(event)
  return settle(co, event, entry[3], resume(co, ...))
end

values.on_run(abandon, function()
  return handlers[current]
end)

-- == The policy's own coroutines =====================================================================

local suspended_by_host = setmetatable({}, { __mode = "k" })

-- Passes host operations of an inner coroutine outward, and everything else to the policy.
local function pass(co, ok, tag, ...)
  if ok and tag == WAIT then
    if not isyieldable() then
      abandon((...))
      return pass(co, resume(co, FAIL, 0, values.CANNOT_WAIT))
    end
    suspended_by_host[co] = true
    local function back(...)
      suspended_by_host[co] = nil
      return pass(co, resume(co, ...))
    end
    return back(yield(WAIT, ...))
  end
  if over then
    killed[co] = true
    check_over()
  end
  return ok, tag, ...
end

local coroutines = {}

function coroutines.create(fn)
  if type(fn) ~= "function" then
    error(format("bad argument #1 to 'create' (function expected, got %s)", type(fn)), 2)
  end
  return hooked(fn)
end

function coroutines.resume(co, ...)
  if type(co) ~= "thread" then
    error(format("bad argument #1 to 'resume' (coroutine expected, got %s)", type(co)), 2)
  elseif handlers[co] or suspended_by_host[co] then
    return false, "cannot resume a coroutine that waits for the host"
  end
  return pass(co, resume(co, ...))
end

local function unwrapped(co, ok, ...)
  if ok then
    return ...
  end
  if status(co) == "dead" then
    close(co)
    check_over()
  end
  error(..., 0)
end

function coroutines.wrap(fn)
  if type(fn) ~= "function" then
    error(format("bad argument #1 to 'wrap' (function expected, got %s)", type(fn)), 2)
  end
  local co = hooked(fn)
  return function(...)
    if suspended_by_host[co] then
      error("cannot resume a coroutine that waits for the host", 2)
    end
    return unwrapped(co, pass(co, resume(co, ...)))
  end
end

function coroutines.yield(...)
  if handlers[running()] then
    error("attempt to yield from outside a coroutine", 2)
  end
  return yield(...)
end

function coroutines.close(co)
  if handlers[co] or suspended_by_host[co] then
    error("cannot close a coroutine that waits for the host", 2)
  end
  check_over()
  if killed[co] then
    error("cannot close a coroutine that was stopped", 2)
  end
  local function closed(...)
    check_over()
    return ...
  end
  return closed(close(co))
end

coroutines.isyieldable = isyieldable
coroutines.running = running
coroutines.status = status

-- The message handler does not run once the budget is spent: hooks are off while it does.
local function guarded_xpcall(fn, handler, ...)
  return raw.xpcall(fn, function(err)
    if over then
      return err
    end
    return handler(err)
  end, ...)
end

return {
  continue_ = continue,
  coroutines = coroutines,
  drop = function(id)
    waiting[id] = nil
  end,
  hooked = hooked,
  -- The lines that ran, as a list for each source.
  lines = function()
    local found = {}
    for source, of_source in next, lines do
      local list = {}
      for line in next, of_source do
        list[#list + 1] = line
      end
      found[source] = list
    end
    return values.marshal_all(found)
  end,
  on_event = function(fn)
    event_changed = fn
  end,
  origins = origins,
  run = run,
  spare = function()
    return spare
  end,
  xpcall = guarded_xpcall,
}

-- How values cross between Lua and Python. Only nil, booleans, numbers, strings and markers ever do: tables go
-- over as a flat stream of tokens. A Lua table or function that lupa wrapped while a coroutine runs would keep a
-- pointer to that coroutine beyond its life, so none is ever wrapped.
--
-- Streams, in both directions:   LIST n v1..vn   DICT n k1 v1..kn vn   anything else stands for itself
-- Lua to Python also:            FUNCTION id place (kept here until Python lets go of it; place is where it begins),
--                                the object behind a facade
-- Python to Lua also:            FUNCTION f, FACADE class object, CLASS ... (defines a class, then the value)
-- Results of host functions:     BUILD n (n streams), FAIL ... (raise), WAIT id (suspend the handler), PLACE f (tell f
--                                where the policy called), or scalars
local raw, markers, stash = ...

local error, next, rawget, select = raw.error, raw.next, raw.rawget, raw.select
local setmetatable, tointeger, tostring, type, unpack, format = raw.setmetatable, raw.tointeger, raw.tostring,
  raw.type, raw.unpack, raw.format
local metatable_of, as_function, getinfo = raw.metatable_of, raw.as_function, raw.getinfo
local isyieldable, yield = raw.isyieldable, raw.yield
stash = as_function(stash)

local LIST, DICT, FUNCTION, FACADE, CLASS, BUILD, FAIL, WAIT, PLACE, STASHED = markers.LIST, markers.DICT,
  markers.FUNCTION, markers.FACADE, markers.CLASS, markers.BUILD, markers.FAIL, markers.WAIT, markers.PLACE,
  markers.STASHED

local MAX_DEPTH = 64 -- nesting of tables; also what ends the walk through a table that contains itself
local MAX_TOKENS = 400000 -- of one value: under half of Lua's stack limit (LUAI_MAXSTACK, 1,000,000 slots)
local CHUNK = 200 -- tokens handed over in one call: lupa's cost per call grows with their square

local SCALAR = { ["nil"] = true, boolean = true, number = true, string = true }

local classes = {} -- by key: {metatable, store}
local stores = setmetatable({}, { __mode = "k" }) -- by metatable: the objects behind the facades of a class
local kept = {} -- functions and objects that Python holds, by id
local last_id = 0

local function keep(value)
  last_id = last_id + 1
  kept[last_id] = value
  return last_id
end

-- Where a function begins, as "file:line".
local function place_of(fn)
  local info = getinfo(fn, "S")
  return format("%s:%d", info.short_src, info.linedefined)
end

-- The Python object behind a facade, nil for everything else.
local function object_of(value)
  local store = stores[metatable_of(value) or false]
  return store and store[value]
end

-- == Lua to Python ===================================================================================

local put

local function put_table(out, n, value, depth)
  local object = object_of(value)
  if object ~= nil then
    out[n + 1] = object
    return n + 1
  end
  if depth > MAX_DEPTH then
    return nil, format("a table is nested deeper than %d levels, or contains itself", MAX_DEPTH)
  end
  local count, highest, is_list = 0, 0, true
  for key in next, value do
    count = count + 1
    if type(key) ~= "number" or tointeger(key) == nil or key < 1 then
      is_list = false
    elseif key > highest then
      highest = tointeger(key)
    end
  end
  if n + 2 * count > MAX_TOKENS then
    return nil, format("a table has more than %d entries", MAX_TOKENS // 2)
  end
  local why
  if is_list and count > 0 and highest <= 2 * count + 8 then
    out[n + 1], out[n + 2] = LIST, highest
    n = n + 2
    for index = 1, highest do
      n, why = put(out, n, rawget(value, index), depth + 1)
      if not n then
        return nil, why
      end
    end
    return n
  end
  out[n + 1], out[n + 2] = DICT, count
  n = n + 2
  for key, item in next, value do
    local kind = type(key)
    if kind == "number" then
      key = format(tointeger(key) and "%d" or "%.14g", key)
    elseif kind ~= "string" then
      return nil, format("a table has a %s for a key; use strings or numbers", kind)
    end
    out[n + 1] = key
    n, why = put(out, n + 1, item, depth + 1)
    if not n then
      return nil, why
    end
  end
  return n
end

put = function(out, n, value, depth)
  local kind = type(value)
  if SCALAR[kind] then
    out[n + 1] = value
    return n + 1
  elseif kind == "table" then
    return put_table(out, n, value, depth)
  elseif kind == "function" then
    out[n + 1], out[n + 2], out[n + 3] = FUNCTION, keep(value), place_of(value)
    return n + 3
  end
  return nil, format("a %s cannot be passed to the host", kind)
end

local function in_chunks(out, n)
  for first = 1, n, CHUNK do
    stash(unpack(out, first, first + CHUNK - 1 < n and first + CHUNK - 1 or n))
  end
  return STASHED
end

-- The tokens and their number; nil and the reason when some value cannot cross.
local function tokens_of(...)
  local out, n, why = {}, 0, nil
  for index = 1, select("#", ...) do
    n, why = put(out, n, (select(index, ...)), 0)
    if not n then
      return nil, why
    end
  end
  return out, n
end

local function sendable(out, n)
  if n > CHUNK then
    return in_chunks(out, n)
  end
  return unpack(out, 1, n)
end

-- Where the policy is, as "file:line: ". A tail call (`return kumo.make_queue_config {...}`) leaves no frame of
-- its function; then the place where the running handler begins has to do.
local handler_of -- set by threads.lua

local function where()
  for level = 3, 64 do
    local info = getinfo(level, "Sl")
    if not info then
      break
    elseif info.currentline > 0 and info.source ~= raw.SOURCE then
      return format("%s:%d: ", info.short_src, info.currentline)
    end
  end
  local handler = handler_of()
  local info = handler and getinfo(handler, "S")
  return info and info.source ~= raw.SOURCE and format("%s:%d: ", info.short_src, info.linedefined) or ""
end

local function marshal_all(...)
  local out, n = tokens_of(...)
  if not out then
    error(where() .. n, 0)
  end
  return sendable(out, n)
end

-- The arguments as tokens. Two scalars or fewer, which is nearly always, cost next to nothing.
local function marshal(...)
  local count = select("#", ...)
  if count <= 2 then
    local first, second = ...
    if SCALAR[type(first)] and SCALAR[type(second)] then
      return ...
    end
  end
  return marshal_all(...)
end

-- == Python to Lua ===================================================================================

local finish
local stream, position

local function facade(class, object)
  local one = setmetatable({}, class.metatable)
  class.store[one] = object
  return one
end

local function host_function(host)
  return function(...)
    return finish(host(marshal(...)))
  end
end

local function host_method(host, store, label)
  return function(self, ...)
    local object = store[self]
    if object == nil then
      error(format("%s must be called with a colon on its own object", label), 2)
    end
    return finish(host(object, marshal(...)))
  end
end

-- Operators: at least one operand is ours; the other may be anything that crosses.
local function host_operator(host)
  return function(left, right)
    return finish(host(marshal_all(left, right)))
  end
end

-- Equality: only two facades can be equal.
local function host_equality(host)
  return function(left, right)
    local first, second = object_of(left), object_of(right)
    return first ~= nil and second ~= nil and finish(host(first, second))
  end
end

local function pairs_hook(host, store)
  return function(self)
    local entries, n = finish(host(store[self])), 0
    return function()
      n = n + 1
      local entry = entries[n]
      if entry then
        return entry[1], entry[2]
      end
    end
  end
end

local BINARY = { __lt = true, __le = true, __concat = true, __add = true, __sub = true, __mul = true,
  __div = true }

local function index_hook(methods, fields, fallback, store, type_name)
  if not next(fields) and not fallback then
    return methods
  end
  return function(self, key)
    local method = methods[key]
    if method ~= nil then
      return method
    end
    local object = store[self]
    if object == nil then
      error(format("this is not a %s", type_name), 2)
    end
    local host = fields[key]
    if host then
      return finish(host(object))
    elseif fallback then
      return finish(fallback(object, marshal(key)))
    end
  end
end

-- CLASS key type_name, n (name, host)..., n (field, host)..., n (metamethod, host)...
local function define_class()
  local function take()
    position = position + 1
    return stream[position]
  end
  local key, type_name = take(), take()
  local store = setmetatable({}, { __mode = "k" })
  local methods, fields, hooks = {}, {}, {}
  for _ = 1, take() do
    local name = take()
    methods[name] = host_method(as_function(take()), store, type_name .. ":" .. name)
  end
  for _ = 1, take() do
    local name = take()
    fields[name] = as_function(take())
  end
  for _ = 1, take() do
    local name = take()
    hooks[name] = as_function(take())
  end
  local metatable = {
    __metatable = false,
    __name = type_name,
    __tostring = function()
      return type_name
    end,
    __newindex = function(_, name)
      error(format("cannot set %s of a %s", tostring(name), type_name), 2)
    end,
  }
  for name, host in next, hooks do
    if name == "__eq" then
      metatable[name] = host_equality(host)
    elseif BINARY[name] then
      metatable[name] = host_operator(host)
    elseif name == "__pairs" then
      metatable[name] = pairs_hook(host, store)
    elseif name == "__len" or name == "__tostring" or name == "__unm" then
      metatable[name] = function(self)
        return finish(host(store[self]))
      end
    elseif name ~= "__index" then
      metatable[name] = host_method(host, store, type_name)
    end
  end
  metatable.__index = index_hook(methods, fields, hooks.__index, store, type_name)
  classes[key] = { metatable = metatable, store = store }
  stores[metatable] = store
end

local function build_one()
  position = position + 1
  local token = stream[position]
  if type(token) ~= "userdata" then
    return token
  elseif token == LIST then
    position = position + 1
    local list = {}
    for index = 1, stream[position] do
      list[index] = build_one()
    end
    return list
  elseif token == DICT then
    position = position + 1
    local dict = {}
    for _ = 1, stream[position] do
      position = position + 1
      local key = stream[position]
      dict[key] = build_one()
    end
    return dict
  elseif token == FACADE then
    position = position + 2
    return facade(classes[stream[position - 1]], stream[position])
  elseif token == CLASS then
    define_class()
    return build_one()
  elseif token == FUNCTION then
    position = position + 1
    return host_function(as_function(stream[position]))
  end
  error("the host sent a value of no known kind", 0)
end

-- As many values as `count` says, from the streams that follow. Runs no policy code, so the state may be shared.
local function build(count, ...)
  stream, position = { ... }, 0
  if count == 1 then
    local value = build_one()
    stream = nil
    return value
  end
  local values = {}
  for index = 1, count do
    values[index] = build_one()
  end
  stream = nil
  return unpack(values, 1, count)
end

-- == Results of host functions =======================================================================

-- Rejections: what kumo.reject and kumo.disconnect raise.
local rejections = setmetatable({}, { __mode = "k" })
local Rejection = {
  __metatable = false,
  __name = "rejection",
  __tostring = function(self)
    local facts = rejections[self]
    return facts and format("%d %s", facts[1], facts[2]) or "rejection"
  end,
}

local abandon -- set by threads.lua: tells Python that nobody waits for an operation

-- Kinds: 0 a text, to which the place is added; 1 a rejection; 2 a text that has its place already.
local function fail(kind, ...)
  if kind == 1 then
    local rejection = setmetatable({}, Rejection)
    rejections[rejection] = { ... }
    error(rejection, 0)
  end
  error(kind == 2 and (...) or where() .. (...), 0)
end

local CANNOT_WAIT = "this function waits, which is not possible inside table.sort, string.gsub, a __tostring or "
  .. "another call that goes through C"

local function wait(id)
  if not isyieldable() then
    abandon(id)
    return FAIL, 0, CANNOT_WAIT
  end
  return yield(WAIT, id)
end

finish = function(first, ...)
  if type(first) ~= "userdata" then
    return first, ...
  elseif first == BUILD then
    return build(...)
  elseif first == WAIT then
    return finish(wait(...))
  elseif first == FAIL then
    return fail(...)
  elseif first == PLACE then
    return finish(as_function((...))(where()))
  end
  error("the host sent a result of no known kind", 0)
end

return {
  CANNOT_WAIT = CANNOT_WAIT,
  FAIL = FAIL,
  WAIT = WAIT,
  build = build,
  classes = classes,
  define = function(...)
    stream, position = { ... }, 0
    define_class()
    stream = nil
  end,
  facade = facade,
  finish = finish,
  host_function = host_function,
  keep = keep,
  kept = kept,
  marshal = marshal,
  marshal_all = marshal_all,
  object_of = object_of,
  rejections = rejections,
  sendable = sendable,
  tokens_of = tokens_of,
  where = where,
  place_of = place_of,
  on_run = function(abandon_host, running_handler)
    abandon, handler_of = abandon_host, running_handler
  end,
}

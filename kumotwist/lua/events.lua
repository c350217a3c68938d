-- What kumo.on registers, and the ways in which Python runs it.
local raw, values, threads, environment, settings = ...

local error, format, ipairs, type = raw.error, raw.format, raw.ipairs, raw.type
local gmatch, match, next, pack, unpack = raw.gmatch, raw.match, raw.next, raw.pack, raw.unpack
local build, classes, facade, kept, run = values.build, values.classes, values.facade, values.kept, threads.run

local handlers = {} -- by event: list of functions; only events of `settings.multiple` may have several
local is_loading = true

local source_of = values.place_of

local function on(name, fn)
  if type(name) ~= "string" then
    error(format("kumo.on: the event name must be a string, got %s", type(name)), 2)
  elseif type(fn) ~= "function" then
    error(format("kumo.on: the handler of '%s' must be a function, got %s", name, type(fn)), 2)
  elseif not is_loading then
    error(format("kumo.on: '%s' can be registered only while the policy is loaded, not from within an event", name), 2)
  end
  local list = handlers[name]
  if not list then
    handlers[name] = { fn }
  elseif settings.multiple[name] then
    list[#list + 1] = fn
  else
    error(format("%s event already has a handler defined at %s", name, source_of(list[1])), 2)
  end
end

-- Runs the handlers in order until one returns something; an explicit nil is something.
local function chain(list, index, ...)
  local results = pack(list[index](...))
  if results.n > 0 or index == #list then
    return unpack(results, 1, results.n)
  end
  return chain(list, index + 1, ...)
end

local function single(name)
  local list = handlers[name]
  if not list then
    return nil
  elseif #list == 1 then
    return list[1]
  end
  local function whole(...)
    return chain(list, 1, ...)
  end
  threads.origins[whole] = list[1]
  return whole
end

-- The way in for events whose arguments are scalars and facades: `kinds` says which class each has, 0 for a
-- scalar. Python gives the objects themselves.
local function entry(name, kind_1, kind_2, kind_3)
  local fn = single(name)
  local class_1, class_2, class_3 = classes[kind_1], classes[kind_2], classes[kind_3]
  -- One for each number of facades: a handler that takes `...` must see no more arguments than there are.
  if class_3 then
    return function(first, second, third, ...)
      return run(name, false, fn, class_1 and facade(class_1, first) or first,
        class_2 and facade(class_2, second) or second, facade(class_3, third), ...)
    end
  elseif class_2 then
    return function(first, second, ...)
      return run(name, false, fn, class_1 and facade(class_1, first) or first, facade(class_2, second), ...)
    end
  end
  return function(first, ...)
    return run(name, false, fn, class_1 and facade(class_1, first) or first, ...)
  end
end

-- The way in for everything else: arguments as a stream.
local function fire(name, keeps, count, ...)
  return run(name, keeps, single(name), build(count, ...))
end

local function call(event, id, count, ...)
  return run(event, false, kept[id], build(count, ...))
end

local function invoke(object, name, is_optional, ...)
  local method = object[name]
  if method == nil and is_optional then
    return nil
  elseif type(method) ~= "function" then
    error(format("the connection object has no method '%s'", name), 0)
  end
  return method(object, ...)
end

local function call_method(event, id, name, is_optional, count, ...)
  return run(event, false, invoke, kept[id], name, is_optional, build(count, ...))
end

-- Puts functions into kumo, or into the table below it that `path` names.
local kumo = { on = on, version = settings.version }
environment.loaded.kumo = kumo

local function install(path, count, ...)
  local target = kumo
  local module = match(path, "^:(.+)$")
  if module then
    target = {}
    environment.loaded[module] = target
    path = ""
  end
  for part in gmatch(path, "[^.]+") do
    target[part] = target[part] or {}
    target = target[part]
  end
  for name, fn in next, build(count, ...) do
    target[name] = fn
  end
end

return {
  call = call,
  call_method = call_method,
  entry = entry,
  fire = fire,
  install = install,
  -- Runs the policy itself.
  main = function(source, name)
    local chunk, why = environment.compile(source, name)
    if not chunk then
      return 2, why, ""
    end
    return run("main", false, chunk)
  end,
  registered = function()
    is_loading = false
    local found = {}
    for name, list in next, handlers do
      local where = {}
      for index, fn in ipairs(list) do
        where[index] = source_of(fn)
      end
      found[name] = where
    end
    return values.marshal_all(found)
  end,
  -- Lets go of what Python held; negative numbers are operations whose handler nobody wants any more.
  release = function(...)
    for _, id in ipairs { ... } do
      if id < 0 then
        threads.drop(-id)
      else
        kept[id] = nil
      end
    end
  end,
}

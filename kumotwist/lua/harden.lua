-- First chunk to run, before any policy code: keeps what only the host may use, and takes it away from
-- everybody else. Real globals end up empty: policies run in an environment of their own (environment.lua).
--
-- One rule carries the rest: internal code calls only what it captured here as locals. It never goes through
-- globals, string methods or metamethods that a policy may have changed.
local as_function, pobject, source = ...

local raw = {
  as_function = as_function, SOURCE = source,
  assert = assert, collectgarbage = collectgarbage, error = error, getmetatable = getmetatable, ipairs = ipairs,
  load = load, loadfile = loadfile, next = next, pairs = pairs, pcall = pcall, rawequal = rawequal, rawget = rawget,
  rawlen = rawlen, rawset = rawset, select = select, setmetatable = setmetatable, tonumber = tonumber,
  tostring = tostring, type = type, warn = warn, xpcall = xpcall, version = _VERSION,
  close = coroutine.close, create = coroutine.create, isyieldable = coroutine.isyieldable, resume = coroutine.resume,
  running = coroutine.running, status = coroutine.status, yield = coroutine.yield,
  clock = os.clock,
  loadlib = package.loadlib, searchpath = package.searchpath, package_config = package.config,
  package_path = package.path, package_cpath = package.cpath,
  pack = table.pack, unpack = table.unpack, concat = table.concat, tointeger = math.tointeger,
  find = string.find, gmatch = string.gmatch, format = string.format, gsub = string.gsub, sub = string.sub, match = string.match,
  getinfo = debug.getinfo, getlocal = debug.getlocal, gethook = debug.gethook, metatable_of = debug.getmetatable,
  set_metatable_of = debug.setmetatable, sethook = debug.sethook, traceback = debug.traceback,
  getupvalue = debug.getupvalue, setupvalue = debug.setupvalue, upvalueid = debug.upvalueid,
  upvaluejoin = debug.upvaluejoin,
  libraries = {
    io = io, math = math, os = os, string = string, table = table, utf8 = utf8,
  },
}

-- The second line of defence: should a Python object ever get out, it can be neither called, indexed, set nor
-- printed. Host functions are plain C closures (as_function), so nothing here needs those metamethods.
local meta = raw.metatable_of(pobject)
meta.__call, meta.__index, meta.__newindex, meta.__tostring = nil, nil, nil, nil
meta.__metatable = false
meta.__name = "host object"

-- lupa looks for debug.traceback in the real globals at each call, outside of any pcall: there must be nothing.
local globals = _G
for name in raw.next, globals do
  globals[name] = nil
end

return raw

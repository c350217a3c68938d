-- The world as a policy sees it: Lua 5.4's standard library, with what could reach the host or take the daemon
-- down replaced. Everything here runs as part of the policy's own coroutine and budget.
local raw, threads, settings, write_line = ...

local error, format, getinfo, next, pcall, rawget, rawset, select, tostring, type = raw.error, raw.format,
  raw.getinfo, raw.next, raw.pcall, raw.rawget, raw.rawset, raw.select, raw.tostring, raw.type
local concat, find, gsub, loadfile_raw, load_raw, match = raw.concat, raw.find, raw.gsub, raw.loadfile, raw.load,
  raw.match
write_line = raw.as_function(write_line)

local G = {}

local function refused(name, why)
  return function()
    error(format("%s is not available to a policy: %s", name, why), 2)
  end
end

local function copy(source)
  local result = {}
  for key, value in next, source do
    result[key] = value
  end
  return result
end

-- == Basic functions =================================================================================

for _, name in raw.ipairs { "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal",
  "rawget", "rawlen", "rawset", "select", "tonumber", "tostring", "type", "warn" } do
  G[name] = raw[name]
end
G._G, G._VERSION, G.xpcall = G, raw.version, threads.xpcall
if settings.is_validating then
  G._VALIDATING_CONFIG = true
end

-- A finalizer would run at any time, with the budget's hook switched off.
function G.setmetatable(value, metatable)
  if type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
    error("finalizers (__gc) are not available to a policy; use a <close> variable", 2)
  end
  return raw.setmetatable(value, metatable)
end

-- The whole text of a chunk that a function gives piece by piece: in Lua, where the budget sees it.
local function read_all(reader)
  local parts = {}
  while true do
    local piece = reader()
    if piece == nil or piece == "" then
      return concat(parts)
    elseif type(piece) ~= "string" then
      return nil, "reader function must return a string"
    end
    parts[#parts + 1] = piece
  end
end

-- Compiled chunks can break the machine (Lua does not verify them), so only text is loaded.
function G.load(chunk, name, mode, ...)
  if mode ~= nil and not find(mode, "t", 1, true) then
    return nil, "compiled chunks are not available to a policy"
  end
  local env = G
  if select("#", ...) > 0 then
    env = ...
  end
  if type(chunk) == "function" then
    local source, why = read_all(chunk)
    if not source then
      return nil, why
    end
    return load_raw(source, name or "=(load)", "t", env)
  end
  return load_raw(chunk, name, "t", env)
end

function G.loadfile(name, mode, ...)
  if mode ~= nil and not find(mode, "t", 1, true) then
    return nil, "compiled chunks are not available to a policy"
  end
  local env = G
  if select("#", ...) > 0 then
    env = ...
  end
  return loadfile_raw(name, "t", env)
end

function G.dofile(name)
  local chunk, why = loadfile_raw(name, "t", G)
  if not chunk then
    error(why, 0)
  end
  return chunk()
end

local COLLECT = { collect = true, count = true, step = true, isrunning = true }

function G.collectgarbage(option, ...)
  if option ~= nil and not COLLECT[option] then
    return 0
  end
  return raw.collectgarbage(option, ...)
end

function G.print(...)
  local parts = {}
  for index = 1, select("#", ...) do
    parts[index] = tostring((select(index, ...)))
  end
  write_line(concat(parts, "\t"))
end

-- == Libraries =======================================================================================

if settings.seed then
  raw.libraries.math.randomseed(settings.seed)
end
for name, library in next, raw.libraries do
  G[name] = copy(library)
end
G.coroutine = copy(threads.coroutines)
G.os.exit = refused("os.exit", "it would end the daemon")
G.os.setlocale = function()
  return nil
end
raw.metatable_of("").__index = G.string

-- debug: what helps to find errors, nothing that reaches into frames, host functions or metatables.
local function is_of_policy(fn)
  if type(fn) ~= "function" then
    return false
  end
  local info = getinfo(fn, "S")
  return info.what ~= "C" and info.source ~= raw.SOURCE
end

local function of_policy(fn, name)
  if not is_of_policy(fn) then
    error(format("debug.%s works on Lua functions of the policy only", name), 3)
  end
end

local debug = {}
G.debug = debug
debug.traceback = raw.traceback
debug.gethook = function() end
debug.getmetatable = raw.getmetatable
debug.getuservalue = function() end
debug.setcstacklimit = function()
  return 0
end
debug.debug = refused("debug.debug", "there is nobody to type")
debug.getregistry = refused("debug.getregistry", "it holds the host")
debug.sethook = refused("debug.sethook", "the CPU budget needs it")
debug.setlocal = refused("debug.setlocal", "frames may be the host's")
debug.setuservalue = refused("debug.setuservalue", "userdata is the host's")

function debug.getinfo(where, what)
  if type(where) == "thread" then
    return nil -- its frames may be the host's
  end
  if type(where) == "number" then
    where = where + 1
  end
  local info
  if what == nil then
    info = getinfo(where)
  else
    info = getinfo(where, what)
  end
  if info and info.func and not is_of_policy(info.func) then
    info.func = nil
  end
  return info
end

function debug.getlocal(fn, index)
  if is_of_policy(fn) then
    return raw.getlocal(fn, index) -- of a function that does not run: parameter names only
  end
end

function debug.getupvalue(fn, index)
  of_policy(fn, "getupvalue")
  return raw.getupvalue(fn, index)
end

function debug.setupvalue(fn, index, value)
  of_policy(fn, "setupvalue")
  return raw.setupvalue(fn, index, value)
end

function debug.upvalueid(fn, index)
  of_policy(fn, "upvalueid")
  return raw.upvalueid(fn, index)
end

function debug.upvaluejoin(first, first_index, second, second_index)
  of_policy(first, "upvaluejoin")
  of_policy(second, "upvaluejoin")
  return raw.upvaluejoin(first, first_index, second, second_index)
end

function debug.setmetatable(value, metatable)
  if type(value) ~= "table" then
    error("debug.setmetatable works on tables only", 2)
  end
  return G.setmetatable(value, metatable)
end

-- == Modules =========================================================================================
-- In Lua, so that a module may wait while it loads, and so that nobody gets at the C original: a C module is
-- native code and trusted as such, but opening Lua's own libraries anew would undo all of the above.

local OWN_LIBRARIES = { luaopen_base = true, luaopen_coroutine = true, luaopen_debug = true, luaopen_io = true,
  luaopen_math = true, luaopen_os = true, luaopen_package = true, luaopen_string = true, luaopen_table = true,
  luaopen_utf8 = true, luaopen_bit32 = true }

local loaded, preload = {}, {}
local package = { config = raw.package_config, cpath = settings.cpath, loaded = loaded, path = settings.path,
  preload = preload, searchpath = raw.searchpath,
  loadlib = refused("package.loadlib", "name the module to require") }
G.package = package

local function search_preload(name)
  local loader = preload[name]
  if loader == nil then
    return format("no field package.preload['%s']", name)
  end
  return loader, ":preload:"
end

local function search_lua(name)
  local file, why = raw.searchpath(name, package.path)
  if not file then
    return why
  end
  local chunk, problem = loadfile_raw(file, "t", G)
  if not chunk then
    error(format("error loading module '%s' from file '%s':\n\t%s", name, file, problem), 0)
  end
  return chunk, file
end

local function load_symbol(name, file)
  local symbol = "luaopen_" .. gsub(match(name, "^[^-]*%-(.+)$") or name, "%.", "_")
  if OWN_LIBRARIES[symbol] then
    return nil, format("'%s' is one of Lua's own libraries", name)
  end
  return raw.loadlib(file, symbol)
end

local function search_c(name)
  local file, why = raw.searchpath(name, package.cpath)
  if not file then
    return why
  end
  local opener, problem = load_symbol(name, file)
  if not opener then
    error(format("error loading module '%s' from file '%s':\n\t%s", name, file, problem), 0)
  end
  return opener, file
end

local function search_c_root(name)
  local root = match(name, "^([^.]*)%.")
  local file = root and raw.searchpath(root, package.cpath)
  local opener = file and load_symbol(name, file)
  if not opener then
    return format("no module '%s' inside of a C library '%s'", name, root or name)
  end
  return opener, file
end

package.searchers = { search_preload, search_lua, search_c, search_c_root }

local LOADING = {}
-- What KumoMTA builds in or brings along and we lack; a file of that name may stand in for it.
local KUMOMTA_MODULES = { proxy = true, redis = true, tsa = true }
for _, name in raw.ipairs { "dmarc_rua", "hornet", "mail_auth", "rollup", "rspamd", "typing", "warmup" } do
  KUMOMTA_MODULES["policy-extras." .. name] = true
end

function G.require(name)
  if type(name) ~= "string" then
    error(format("bad argument #1 to 'require' (string expected, got %s)", type(name)), 2)
  end
  local value = loaded[name]
  if value == LOADING then
    error(format("loop or previous error loading module '%s'", name), 2)
  elseif value then
    return value
  end
  local messages = {}
  for _, searcher in raw.ipairs(package.searchers) do
    local loader, extra = searcher(name)
    if type(loader) == "function" then
      loaded[name] = LOADING
      local ok, result = pcall(loader, name, extra)
      if loaded[name] == LOADING then
        loaded[name] = nil
      end
      if not ok then
        error(result, 0)
      end
      if result ~= nil then
        loaded[name] = result
      elseif loaded[name] == nil then
        loaded[name] = true
      end
      return loaded[name], extra
    elseif type(loader) == "string" then
      messages[#messages + 1] = "\n\t" .. gsub(loader, "\n\t?", "\n\t")
    end
  end
  if KUMOMTA_MODULES[name] then
    error(format("module '%s' is known to KumoMTA but not supported by kumotwist; see docs/kumomta-users.md", name), 2)
  end
  error(format("module '%s' not found:%s", name, concat(messages)), 2)
end

loaded._G, loaded.package = G, package
for _, name in raw.ipairs { "coroutine", "debug", "io", "math", "os", "string", "table", "utf8" } do
  loaded[name] = G[name]
end

threads.on_event(function(event)
  rawset(G, "_KUMO_CURRENT_EVENT", event)
end)

return {
  globals = G,
  loaded = loaded,
  compile = function(source, name)
    return load_raw(source, name, "t", G)
  end,
}

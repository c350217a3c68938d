-- Small functions that policies share: tables, strings, data files, and checks for tests.
-- local utils = require 'policy-extras.policy_utils'

local kumo = require "kumo"

local mod = {}

-- == Tables ==========================================================================================

-- Copies every entry of `src` into `dest`, over what is there, and returns `dest`.
function mod.merge_into(src, dest)
  for key, value in pairs(src) do
    dest[key] = value
  end
  return dest
end

local function is_list(value)
  return #value > 0
end

-- The same, but where both have a table with named entries, these are merged in turn. Lists are replaced as a whole.
function mod.recursive_merge_into(src, dest)
  for key, value in pairs(src) do
    local present = dest[key]
    if type(value) == "table" and type(present) == "table" and not is_list(value) and not is_list(present) then
      mod.recursive_merge_into(value, present)
    elseif type(value) == "table" and not is_list(value) then
      dest[key] = mod.recursive_merge_into(value, {}) -- a copy: `src` may be somebody else's
    else
      dest[key] = value
    end
  end
  return dest
end

-- Whether a table has no entry at all.
function mod.table_is_empty(value)
  return next(value) == nil
end

-- Whether some entry has this value.
function mod.table_contains(list, wanted)
  for _, value in pairs(list) do
    if value == wanted then
      return true
    end
  end
  return false
end

-- The keys of a table, sorted where they can be compared.
function mod.table_keys(value)
  local keys = {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  pcall(table.sort, keys)
  return keys
end

-- Whether two values are the same; tables are, when their entries are.
function mod.equals(one, other)
  if type(one) ~= "table" or type(other) ~= "table" then
    return one == other
  end
  for key, value in pairs(one) do
    if not mod.equals(value, other[key]) then
      return false
    end
  end
  for key in pairs(other) do
    if one[key] == nil then
      return false
    end
  end
  return true
end

-- == Strings =========================================================================================

function mod.starts_with(text, prefix)
  return text:sub(1, #prefix) == prefix
end

function mod.ends_with(text, suffix)
  return suffix == "" or text:sub(-#suffix) == suffix
end

-- Address and port of '10.0.0.1:25' or '[::1]:25', both as strings; without a port, the address alone.
function mod.split_ip_port(text)
  local ip, port = text:match "^%[(.*)%]:(%d+)$"
  if not ip then
    ip, port = text:match "^([^:]*):(%d+)$"
  end
  if not ip then
    return text:match "^%[(.*)%]$" or text
  end
  return ip, port
end

-- A value as readable text.
function mod.dumps(value)
  if type(value) ~= "table" then
    return tostring(value)
  end
  local ok, text = pcall(kumo.serde.json_encode_pretty, value)
  return ok and text or tostring(value)
end

-- == Data files ======================================================================================

-- What stands in a file; its name tells which of the two it is.
function mod.load_json_or_toml_file(name)
  if mod.ends_with(name, ".json") then
    return kumo.serde.json_load(name)
  end
  return kumo.serde.toml_load(name)
end

-- Our own, for the other helpers: the data of all `sources`, later ones over earlier ones. Each is a file name or
-- the table itself.
function mod.load_data(sources, who)
  if type(sources) ~= "table" then
    error(who .. ": give a list of data files", 3)
  end
  local data = {}
  for _, source in ipairs(sources) do
    mod.recursive_merge_into(type(source) == "table" and source or mod.load_json_or_toml_file(source), data)
  end
  return data
end

-- Our own: raises an error that names the first key of `value` that is not `known`.
function mod.refuse_unknown(value, known, where)
  for _, key in ipairs(mod.table_keys(value)) do
    if not mod.table_contains(known, key) then
      error(string.format("%s: unknown entry '%s'; there may be %s", where, key, table.concat(known, ", ")), 0)
    end
  end
end

-- Our own: raises one error that holds all `problems`, if there are any.
function mod.refuse_problems(problems, where)
  if #problems > 0 then
    table.sort(problems)
    error(string.format("%s: %s", where, table.concat(problems, "; ")), 0)
  end
end

-- Our own: what `make` makes of `params`; an error says where they stand.
function mod.checked(where, make, params)
  local ok, made = pcall(make, params)
  if not ok then
    error(string.format("%s: %s", where, tostring(made)), 0)
  end
  return made
end

-- == Checks for tests ================================================================================

local function fail(message, detail)
  error(detail and string.format("%s: %s", detail, message) or message, 3)
end

function mod.assert_eq(one, other, detail)
  if not mod.equals(one, other) then
    fail(string.format("%s is not equal to %s", mod.dumps(one), mod.dumps(other)), detail)
  end
end

function mod.assert_ne(one, other, detail)
  if mod.equals(one, other) then
    fail(string.format("both are %s", mod.dumps(one)), detail)
  end
end

-- `pattern` is one of Lua's.
function mod.assert_matches(text, pattern, detail)
  if not tostring(text):find(pattern) then
    fail(string.format("%s does not match %s", mod.dumps(text), pattern), detail)
  end
end

return mod

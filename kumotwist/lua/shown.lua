-- What a table that policy raised says: its fields, for a person to read, instead of where in memory it was.
--
-- Nothing of the policy's runs here. Strings are shown whole or not at all: of one that is cut, secrets could no
-- longer be taken out.
local raw = ...

local concat, find, format, next, rawget, tostring, type = raw.concat, raw.find, raw.format, raw.next, raw.rawget,
  raw.tostring, raw.type

local FIELDS = 8 -- of a table; more are counted. Ours, as the next two: one line of a log
local LONGEST = 100 -- octets of a string
local DEPTH = 2 -- tables in tables
local LOOKED_AT = 1000 -- fields; a table may be as large as memory

local function kind_of(value)
  local kind = type(value)
  return kind == "userdata" and "an object" or format("a %s", kind)
end

local function scalar(value)
  local kind = type(value)
  if kind == "string" then
    return #value <= LONGEST and format("'%s'", value) or format("a string of %d octets", #value)
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  end
  return kind_of(value)
end

local function name_of(key)
  if type(key) == "string" and find(key, "^[%a_][%w_]*$") and #key <= LONGEST then
    return key
  end
  return format("[%s]", scalar(key))
end

local fields

local function text_of(value, depth)
  if type(value) ~= "table" then
    return scalar(value)
  end
  return depth > 0 and fields(value, depth) or "{…}"
end

-- Sorted by name, so that the same table reads the same each time: `next` has an order of its own.
local function insert(names, name, key)
  local at = #names
  while at > 0 and names[at][1] > name do
    names[at + 1] = names[at]
    at = at - 1
  end
  names[at + 1] = { name, key }
  names[FIELDS + 1] = nil
end

fields = function(value, depth)
  local names, count = {}, 0
  for key in next, value do
    count = count + 1
    if count > LOOKED_AT then
      break
    end
    insert(names, name_of(key), key)
  end
  local parts = {}
  for index = 1, #names do
    local name, key = names[index][1], names[index][2]
    parts[index] = format("%s = %s", name, text_of(rawget(value, key), depth - 1))
  end
  if count > FIELDS then
    parts[#parts + 1] = count > LOOKED_AT and "and many more" or format("and %d more", count - FIELDS)
  end
  return #parts > 0 and format("{ %s }", concat(parts, ", ")) or "{}"
end

-- `text` is what tostring made of `err`.
return function(err, text)
  if not find(text, "^[%w_ ]+: 0x%x+$") then
    return text
  elseif type(err) == "table" then
    return format("the table %s was raised as an error", fields(err, DEPTH))
  end
  return format("%s was raised as an error", kind_of(err))
end

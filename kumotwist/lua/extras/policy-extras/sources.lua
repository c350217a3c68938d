-- Addresses to send from and pools of them, from data files.
-- (require 'policy-extras.sources'):setup { '/etc/sources.toml' }
--
-- `source.NAME` holds the options of kumo.make_egress_source; `pool.NAME.SOURCE` the weight of a source in a pool.
-- Takes the events get_egress_source and get_egress_pool.

local kumo = require "kumo"
local utils = require "policy-extras.policy_utils"

local mod = {}
local WHO = "policy-extras.sources"
-- KumoMTA's name for the source without options and the pool of it, which always exist.
local UNSPECIFIED = "unspecified"

local function made_sources(sections)
  local made = {}
  for name, options in pairs(sections) do
    local params = utils.merge_into(options, { name = name })
    made[name] = utils.checked(string.format("%s: source '%s'", WHO, name), kumo.make_egress_source, params)
  end
  return made
end

local function made_pool(name, members, sources)
  local params = { name = name, entries = {} }
  for _, member in ipairs(utils.table_keys(members)) do
    local options = members[member]
    if type(options) ~= "table" then
      params[member] = options -- an option of the pool itself, such as ttl
    elseif not sources[member] and member ~= UNSPECIFIED then
      error(string.format("%s: pool '%s' names the source '%s', which is not defined", WHO, name, member), 0)
    else
      table.insert(params.entries, utils.merge_into(options, { name = member }))
    end
  end
  return utils.checked(string.format("%s: pool '%s'", WHO, name), kumo.make_egress_pool, params)
end

local function finder(kind, made, make)
  return function(name)
    local found = made[name] or name == UNSPECIFIED and make { name = UNSPECIFIED }
    if not found then
      error(string.format("%s: there is no %s '%s'", WHO, kind, name), 0)
    end
    return found
  end
end

function mod:setup(data_files)
  local data = utils.load_data(data_files, WHO)
  utils.refuse_unknown(data, { "pool", "source" }, WHO)
  local sources, pools = made_sources(data.source or {}), {}
  for name, members in pairs(data.pool or {}) do
    pools[name] = made_pool(name, members, sources)
  end
  -- Whether there is such a pool or source: for what other helpers add to `kumotwist validate`.
  function mod.has_pool(name)
    return name == UNSPECIFIED or pools[name] ~= nil
  end
  function mod.has_source(name)
    return name == UNSPECIFIED or sources[name] ~= nil
  end
  kumo.on("get_egress_source", finder("source", sources, kumo.make_egress_source))
  kumo.on("get_egress_pool", finder("pool", pools, kumo.make_egress_pool))
end

return mod

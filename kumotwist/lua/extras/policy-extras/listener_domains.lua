-- What a listener accepts for which domain, from data files.
-- kumo.on('get_listener_domain', (require 'policy-extras.listener_domains'):setup { '/etc/listener_domains.toml' })
--
-- A section is named by a domain, by `*.domain` for everything below it, or by `*` for the rest; it holds the options
-- of kumo.make_listener_domain. `relay_from_authz` lists users whose client may relay once it has authenticated.
-- Sections below `listener."IP:PORT"` hold for that listener and come first.

local kumo = require "kumo"
local utils = require "policy-extras.policy_utils"

local mod = {}
local WHO = "policy-extras.listener_domains"

local function without_authz(entry)
  local options = utils.merge_into(entry, {})
  options.relay_from_authz = nil
  return options
end

-- A function from a domain to its section.
local function finder(sections, where)
  local rest = sections["*"]
  local map = kumo.domain_map.new()
  for domain, entry in pairs(sections) do
    local place = string.format("%s: %s['%s']", WHO, where, domain)
    if type(entry) ~= "table" then
      error(place .. " must be a table", 0)
    end
    utils.checked(place, kumo.make_listener_domain, without_authz(entry))
    if domain ~= "*" then
      map[domain] = entry
    end
  end
  return function(domain)
    return map[domain] or rest
  end
end

local function options_for(entry, conn_meta)
  local options = without_authz(entry)
  local user = entry.relay_from_authz and conn_meta:get_meta "authz_id"
  local peer = user and conn_meta:get_meta "received_from"
  if peer and utils.table_contains(entry.relay_from_authz, user) then
    local from = utils.merge_into(options.relay_from or {}, {})
    from[#from + 1] = (utils.split_ip_port(peer))
    options.relay_from = from
  end
  return options
end

-- A handler for get_listener_domain; with `skip_make` it returns the plain options.
function mod:setup(data_files, skip_make)
  local sections = utils.load_data(data_files, WHO)
  local of_listener = {}
  for listener, its_sections in pairs(sections.listener or {}) do
    of_listener[listener] = finder(its_sections, string.format("listener['%s']", listener))
  end
  sections.listener = nil
  local of_any = finder(sections, "")
  return function(domain, listener, conn_meta)
    local special = of_listener[listener]
    local entry = special and special(domain) or of_any(domain)
    if not entry then
      return
    end
    local options = options_for(entry, conn_meta)
    return skip_make and options or kumo.make_listener_domain(options)
  end
end

return mod

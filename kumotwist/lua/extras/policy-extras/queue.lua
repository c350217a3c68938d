-- Tenants, campaigns and the options of scheduled queues, from data files.
-- local queue_helper = (require 'policy-extras.queue'):setup { '/etc/queues.toml' }
-- kumo.on('smtp_server_message_received', function(msg) queue_helper:apply(msg) end)
--
-- Sections `queue.default`, `queue.DOMAIN`, `tenant.TENANT`, `tenant.TENANT.campaigns.CAMPAIGN`, `queue.DOMAIN.TENANT`
-- and `queue.DOMAIN.TENANT.CAMPAIGN` hold options of kumo.make_queue_config, each over those before it. They may also
-- hold `routing_domain`, and `overall_max_message_rate` for everything that the section covers together. A message may
-- only name a tenant that has a section.

local kumo = require "kumo"
local utils = require "policy-extras.policy_utils"

local mod = {}
local WHO = "policy-extras.queue"
local SETTINGS = { "campaign_header", "default_tenant", "queue", "queues", "remove_campaign_header",
  "remove_tenant_header", "scheduling_header", "tenant", "tenant_header", "tenants" }
-- What a section may hold beside options of a queue.
local OURS = { "overall_max_message_rate", "require_authz", "routing_domain" }

local Helper = {}
Helper.__index = Helper

-- == Reading =========================================================================================

-- A table in a section is an option where kumo.make_queue_config has one of that kind, else a section below.
local function is_section(name, value)
  return type(value) == "table" and name ~= "protocol" and not utils.table_contains(OURS, name)
end

-- The options of a section without those of the sections below.
local function own_options(section)
  local options = {}
  for name, value in pairs(section or {}) do
    if not is_section(name, value) then
      options[name] = value
    end
  end
  return options
end

local function queue_options(options)
  local found = utils.merge_into(options, {})
  for _, name in ipairs(OURS) do
    found[name] = nil
  end
  return found
end

local function check_section(section, where, depth)
  if type(section) ~= "table" then
    error(string.format("%s: %s must be a table", WHO, where), 0)
  end
  utils.checked(string.format("%s: %s", WHO, where), kumo.make_queue_config, queue_options(own_options(section)))
  for name, value in pairs(section) do
    if is_section(name, value) then
      if depth == 0 then
        error(string.format("%s: unknown section '%s' in %s", WHO, name, where), 0)
      end
      check_section(value, string.format("%s.'%s'", where, name), depth - 1)
    end
  end
end

local function check_tenant(section, where)
  local campaigns = type(section) == "table" and section.campaigns
  if not campaigns then
    return check_section(section, where, 0)
  end
  local own = utils.merge_into(section, {})
  own.campaigns = nil
  check_section(own, where, 0)
  for campaign, options in pairs(campaigns) do
    check_section(options, string.format("%s.campaigns.'%s'", where, campaign), 0)
  end
end

local function load(file_names)
  local data = utils.load_data(file_names, WHO)
  utils.refuse_unknown(data, SETTINGS, WHO)
  data.queue = utils.recursive_merge_into(data.queues or {}, data.queue or {})
  data.tenant = utils.recursive_merge_into(data.tenants or {}, data.tenant or {})
  for domain, section in pairs(data.queue) do
    check_section(section, string.format("queue.'%s'", domain), 2)
  end
  for tenant, section in pairs(data.tenant) do
    check_tenant(section, string.format("tenant.'%s'", tenant))
  end
  return data
end

-- == What holds for a queue ==========================================================================

-- Each section that covers a queue, from the widest to the narrowest, as `{ name, options }`.
function Helper:_sections(domain, tenant, campaign)
  local of_domain = domain ~= "default" and self.domains[domain] or nil
  local of_tenant = tenant and of_domain and of_domain[tenant]
  local of_campaign = campaign and type(of_tenant) == "table" and of_tenant[campaign]
  local everywhere = tenant and self.data.tenant[tenant]
  local found = {}
  local function add(name, section)
    if type(section) == "table" then
      found[#found + 1] = { name = name, options = own_options(section) }
    end
  end
  add("default", self.data.queue.default)
  add(domain, of_domain)
  add("tenant " .. (tenant or ""), everywhere)
  local campaigns = everywhere and everywhere.campaigns or {}
  add(string.format("tenant %s %s", tenant, campaign), campaign and campaigns[campaign])
  add(string.format("%s %s", domain, tenant), of_tenant)
  add(string.format("%s %s %s", domain, tenant, campaign), of_campaign)
  return found
end

function Helper:_options(domain, tenant, campaign)
  local options = {}
  for _, section in ipairs(self:_sections(domain, tenant, campaign)) do
    utils.merge_into(section.options, options)
  end
  return options
end

-- What to call kumo.make_queue_config with for a queue, nil when no section has an option for it.
function Helper:resolve_config(domain, tenant, campaign)
  local options = queue_options(self:_options(domain, tenant, campaign))
  return next(options) ~= nil and options or nil
end

-- The queues of log hooks are theirs, whichever helper was set up first.
local function is_hook(domain)
  local hooks = package.loaded["policy-extras.log_hooks"]
  return hooks and hooks.QUEUES and hooks.QUEUES[domain]
end

-- A handler for get_queue_config; where it has nothing to say, the next one is asked.
function Helper:get_queue_config(domain, tenant, campaign)
  local options = not is_hook(domain) and self:resolve_config(domain, tenant, campaign)
  if options then
    return kumo.make_queue_config(options)
  end
end

-- == What is done to a message =======================================================================

local function check_may_use(msg, name, tenant)
  if not tenant then
    kumo.reject(550, string.format("5.7.1 there is no tenant '%s'", name))
  end
  local users = tenant.require_authz
  if users and not utils.table_contains(users, msg:get_meta "authz_id" or msg:get_meta "http_auth") then
    kumo.reject(550, string.format("5.7.1 not authorized to send for the tenant '%s'", name))
  end
end

local function from_header(msg, header, remove)
  local value = header and msg:get_first_named_header_value(header)
  if value and remove then
    msg:remove_all_named_headers(header)
  end
  return value
end

local function queue_key(msg)
  local recipient = msg:recipient_list()[1]
  return recipient and recipient.domain:lower() or "", msg:get_meta "tenant", msg:get_meta "campaign"
end

-- Sets tenant, campaign, schedule and routing domain of a message; call it where messages are received.
function Helper:apply(msg)
  local data = self.data
  local campaign = from_header(msg, data.campaign_header, data.remove_campaign_header)
  if campaign then
    msg:set_meta("campaign", campaign)
  end
  local tenant = from_header(msg, data.tenant_header, data.remove_tenant_header)
  if not tenant and not msg:get_meta "tenant" then
    tenant = data.default_tenant
  end
  if tenant then
    check_may_use(msg, tenant, data.tenant[tenant])
    msg:set_meta("tenant", tenant)
  end
  if data.scheduling_header then
    msg:import_scheduling_header(data.scheduling_header, true)
  end
  local routing_domain = self:_options(queue_key(msg)).routing_domain
  if routing_domain and not msg:get_meta "routing_domain" then
    msg:set_meta("routing_domain", routing_domain)
  end
end

-- Delays a message when a section that covers it has used up its rate.
function Helper:throttle(msg)
  for _, section in ipairs(self:_sections(queue_key(msg))) do
    local rate = section.options.overall_max_message_rate
    if rate then
      local throttle = kumo.make_throttle("policy-extras.queue " .. section.name, rate)
      if throttle:delay_message_if_throttled(msg) then
        return
      end
    end
  end
end

-- == Setting up ======================================================================================

local function has_overall_rate(value)
  for name, entry in pairs(value) do
    if name == "overall_max_message_rate" or type(entry) == "table" and has_overall_rate(entry) then
      return true
    end
  end
  return false
end

-- Calls `visit(where, section)` for each section, those below others as well.
local function each_section(value, where, visit)
  visit(where, value)
  for name, entry in pairs(value) do
    if is_section(name, entry) then
      each_section(entry, string.format("%s.'%s'", where, name), visit)
    end
  end
end

-- What `kumotwist validate` adds: pools that policy-extras.sources does not have, a default tenant without a section.
local function check_names(data)
  local problems = {}
  if data.default_tenant and not data.tenant[data.default_tenant] then
    problems[1] = string.format("default_tenant: there is no tenant '%s'", data.default_tenant)
  end
  local has_pool = (package.loaded["policy-extras.sources"] or {}).has_pool
  local function check(where, section)
    local pool = section.egress_pool
    if pool and has_pool and has_pool(pool) == false then
      problems[#problems + 1] = string.format("%s: there is no egress pool '%s'", where, pool)
    end
  end
  each_section(data.queue, "queue", check)
  each_section(data.tenant, "tenant", check)
  utils.refuse_problems(problems, WHO)
end

-- `skip_queue_config_hook` leaves get_queue_config to the policy. `invalidate_with_epoch` changes nothing: the files are
-- read anew with the policy.
function mod:setup_with_options(options)
  utils.refuse_unknown(options, { "file_names", "invalidate_with_epoch", "skip_queue_config_hook" }, WHO)
  local data = load(options.file_names)
  local helper = setmetatable({ data = data, domains = kumo.domain_map.new(data.queue) }, Helper)
  if not options.skip_queue_config_hook then
    kumo.on("get_queue_config", function(domain, tenant, campaign)
      return helper:get_queue_config(domain, tenant, campaign)
    end)
  end
  kumo.on("validate_config", function()
    check_names(data)
  end)
  if has_overall_rate { data.queue, data.tenant } then
    kumo.on("throttle_insert_ready_queue", function(msg)
      helper:throttle(msg)
    end)
  end
  return helper
end

function mod:setup(file_names)
  return self:setup_with_options { file_names = file_names }
end

-- Whether kumo.make_queue_config has such an option. A value of the wrong kind is an error.
function mod.is_queue_config_option(name, value)
  local ok, problem = pcall(kumo.make_queue_config, { [name] = value })
  if not ok and not tostring(problem):find("unknown option", 1, true) then
    error(problem, 2)
  end
  return ok
end

return mod

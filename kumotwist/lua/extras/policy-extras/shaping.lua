-- How to talk to which site, from data files.
-- local shaper = (require 'policy-extras.shaping'):setup_with_automation { extra_files = { '/etc/shaping.toml' } }
-- kumo.on('get_egress_path_config', shaper.get_egress_path_config)
--
-- A file holds options of kumo.make_egress_path in `default`, in `provider.NAME` and in a section for each domain.
-- A section may say `mx_rollup = false` (for this domain only, not for all with the same exchangers), `replace_base`
-- (put aside what files before say), and `sources.SOURCE` (further options for one source). What holds for a path is
-- put together in the order default, providers, site, domain, and then what site and domain say for the source.
--
-- Traffic shaping automation is not here: its rules and its addresses are taken and change nothing.

local kumo = require "kumo"
local utils = require "policy-extras.policy_utils"

local mod = {}
local WHO = "policy-extras.shaping"
local SHARE = "/opt/kumomta/share/"
local DEFAULT_FILES = { SHARE .. "policy-extras/shaping.toml" }
local OPTIONS = { "additional_skip_log_record_types", "allow_stale_shaping_data", "back_pressure", "cache_ttl",
  "extra_files", "load_validation_options", "no_default_files", "pre_filter", "publish", "publish_connection_verbose",
  "publish_pool_idle_timeout", "publish_timeout", "retry_shaping_data_fetch_on_populate_timeout",
  "shaping_data_populate_timeout", "skip_log_record_types", "subscribe", "tsa_queue_config", "validation_options" }
-- What a section may hold beside options of a path.
local NO_OPTIONS = { "automation", "match", "mx_rollup", "provider_connection_limit", "provider_max_message_rate",
  "provider_source_selection_rate", "replace_base", "sources" }
-- Maps of named limits, which are merged name by name; every other option is replaced.
local NAMED = { additional_connection_limits = true, additional_message_rate_throttles = true,
  additional_source_selection_rates = true }
-- A source for which KumoMTA's own file has a section, as an example.
local EXAMPLE_SOURCE = "my source name"
-- KumoMTA's: seconds that a file may take that is fetched over HTTP.
local FETCH_TIMEOUT = "5s"
-- How long the exchangers of a domain are taken as known, and of how many domains; the resolver beneath keeps to the
-- times that records have.
local EXCHANGERS_TTL, EXCHANGERS_CAPACITY = "5 minutes", 10000

-- == Options =========================================================================================

local function merge_options(src, dest)
  for name, value in pairs(src) do
    if NAMED[name] and dest[name] then
      dest[name] = utils.merge_into(value, utils.merge_into(dest[name], {}))
    elseif not utils.table_contains(NO_OPTIONS, name) then
      dest[name] = value
    end
  end
  return dest
end

local function add_limit(options, kind, name, value)
  if value ~= nil then
    merge_options({ [kind] = { [name] = value } }, options)
  end
end

local function of_source(section, source)
  return section.sources and section.sources[source] or {}
end

-- == Files ===========================================================================================

local function fetched(url)
  local client = kumo.http.build_client { timeout = FETCH_TIMEOUT }
  local ok, text = pcall(function()
    local response = client:get(url):send()
    if not response:status_is_success() then
      error(string.format("%d %s", response:status_code(), response:status_reason()), 0)
    end
    return response:text()
  end)
  client:close()
  if not ok then
    kumo.log_warn(string.format("%s: %s is left out: %s", WHO, url, tostring(text)))
    return {}
  end
  return utils.ends_with(url, ".json") and kumo.serde.json_parse(text) or kumo.serde.toml_parse(text)
end

local function load_file(source)
  if type(source) == "table" then
    return source
  elseif source:match "^https?://" then
    return fetched(source)
  elseif utils.starts_with(source, SHARE) and #kumo.fs.glob(source) == 0 then
    kumo.log_warn(string.format("%s: %s is left out: KumoMTA's own data are not installed", WHO, source))
    return {}
  end
  return utils.load_json_or_toml_file(source)
end

local function merge_section(sections, name, section)
  local present = sections[name]
  if not present or section.replace_base then
    sections[name] = section
    return
  end
  local sources = {}
  for _, one in ipairs { present.sources or {}, section.sources or {} } do
    for source, options in pairs(one) do
      sources[source] = merge_options(options, sources[source] or {})
    end
  end
  local merged = utils.merge_into(section, utils.merge_into(present, {}))
  for kind in pairs(NAMED) do
    if section[kind] and present[kind] then
      merged[kind] = utils.merge_into(section[kind], utils.merge_into(present[kind], {}))
    end
  end
  merged.sources = sources
  sections[name] = merged
end

local function check_section(where, section)
  if type(section) ~= "table" then
    error(string.format("%s: %s must be a table", WHO, where), 0)
  end
  utils.checked(string.format("%s: %s", WHO, where), kumo.make_egress_path, merge_options(section, {}))
  for source, options in pairs(section.sources or {}) do
    check_section(string.format("%s for the source '%s'", where, source), options)
  end
end

local MATCHES = { "DomainSuffix", "HostName", "MXSuffix" }

local function check_provider(name, provider)
  local where = string.format("provider '%s'", name)
  check_section(where, provider)
  if type(provider.match) ~= "table" or #provider.match == 0 then
    error(string.format("%s: %s: there must be a list 'match'", WHO, where), 0)
  end
  for _, rule in ipairs(provider.match) do
    utils.refuse_unknown(rule, MATCHES, string.format("%s: %s: match", WHO, where))
  end
end

-- The sections of all files: `default`, `providers` in the order of their names, and `domains`.
local function load(files)
  local sections, providers = {}, {}
  for _, file in ipairs(files) do
    for name, section in pairs(load_file(file)) do
      if name ~= "provider" then
        merge_section(sections, name, section)
      end
      for provider, its_section in pairs(name == "provider" and section or {}) do
        merge_section(providers, provider, its_section)
      end
    end
  end
  for name, section in pairs(sections) do
    check_section(string.format("'%s'", name), section)
  end
  local ordered = {}
  for _, name in ipairs(utils.table_keys(providers)) do
    check_provider(name, providers[name])
    ordered[#ordered + 1] = { name = name, section = providers[name] }
  end
  local default = sections.default or {}
  sections.default = nil
  return { default = default, providers = ordered, domains = sections }
end

-- == Exchangers ======================================================================================

-- The site and the hosts of a domain; nothing where they cannot be told. Each new path asks for every section's, so what
-- is old is used while it is looked up anew: sixty lookups one after the other would hold mail up time and again.
local exchangers = kumo.memoize(function(domain)
  local ok, found = pcall(kumo.dns.lookup_mx, domain)
  if not ok then
    return { site = "", hosts = {} }
  end
  local hosts = {}
  for index, host in ipairs(found.hosts) do
    hosts[index] = host:lower():gsub("%.$", "")
  end
  return { site = found.site_name, hosts = hosts }
end, { name = "policy-extras.shaping", ttl = EXCHANGERS_TTL, capacity = EXCHANGERS_CAPACITY, allow_stale_reads = true })

local function host_matches(rules, host)
  for _, rule in ipairs(rules) do
    if rule.HostName and rule.HostName:lower() == host or rule.MXSuffix and utils.ends_with(host, rule.MXSuffix:lower())
    then
      return true
    end
  end
  return false
end

-- By the name of the domain, or when every one of its exchangers is the provider's.
local function provider_matches(rules, domain)
  local by_host = false
  for _, rule in ipairs(rules) do
    if rule.DomainSuffix and utils.ends_with(domain, rule.DomainSuffix:lower()) then
      return true
    end
    by_host = by_host or not rule.DomainSuffix
  end
  local hosts = by_host and exchangers(domain).hosts or {}
  for _, host in ipairs(hosts) do
    if not host_matches(rules, host) then
      return false
    end
  end
  return #hosts > 0
end

-- == What holds for a path ===========================================================================

local function apply_provider(options, name, section, source)
  merge_options(section, options)
  options.provider_name = name
  local prefix = string.format("shaping-provider-%s-%s-", name, source)
  add_limit(options, "additional_connection_limits", prefix .. "limit", section.provider_connection_limit)
  add_limit(options, "additional_message_rate_throttles", prefix .. "rate", section.provider_max_message_rate)
  add_limit(options, "additional_source_selection_rates", prefix .. "selection-rate",
    section.provider_source_selection_rate)
end

-- The sections that cover a site, and those for the domain alone.
local function covering(domains, domain, site)
  local of_site, of_domain = {}, {}
  for _, name in ipairs(utils.table_keys(domains)) do
    local section = domains[name]
    if section.mx_rollup == false then
      of_domain[#of_domain + 1] = name:lower() == domain and section or nil
    elseif exchangers(name).site == site or name:lower() == domain then
      of_site[#of_site + 1] = section
    end
  end
  return of_site, of_domain
end

local function options_for(data, domain, source, site)
  domain = domain:lower()
  local options = merge_options(data.default, {})
  local providers = {}
  for _, provider in ipairs(data.providers) do
    if provider_matches(provider.section.match, domain) then
      apply_provider(options, provider.name, provider.section, source)
      providers[#providers + 1] = provider.section
    end
  end
  for _, section in ipairs(providers) do
    merge_options(of_source(section, source), options)
  end
  local of_site, of_domain = covering(data.domains, domain, site)
  for _, sections in ipairs { of_site, of_domain } do
    for _, section in ipairs(sections) do
      merge_options(section, options)
    end
  end
  for _, sections in ipairs { of_site, of_domain } do
    for _, section in ipairs(sections) do
      merge_options(of_source(section, source), options)
    end
  end
  return options
end

-- == Setting up ======================================================================================

local function files_of(options)
  local files = {}
  if not options.no_default_files then
    for _, name in ipairs(DEFAULT_FILES) do
      files[#files + 1] = #kumo.fs.glob(name) > 0 and name or nil
    end
  end
  for _, file in ipairs(options.extra_files or {}) do
    files[#files + 1] = file
  end
  return files
end

-- What `kumotwist validate` adds: sources that policy-extras.sources does not have.
local function check_sources(data)
  local has_source = (package.loaded["policy-extras.sources"] or {}).has_source
  local problems = {}
  local function check(where, section)
    for source in pairs(has_source and section.sources or {}) do
      if source ~= EXAMPLE_SOURCE and not has_source(source) then
        problems[#problems + 1] = string.format("%s: there is no egress source '%s'", where, source)
      end
    end
  end
  check("'default'", data.default)
  for _, provider in ipairs(data.providers) do
    check(string.format("provider '%s'", provider.name), provider.section)
  end
  for domain, section in pairs(data.domains) do
    check(string.format("'%s'", domain), section)
  end
  utils.refuse_problems(problems, WHO)
end

local function nothing() end

function mod:setup_with_automation(options)
  utils.refuse_unknown(options, OPTIONS, WHO)
  local data = load(files_of(options))
  if #(options.publish or {}) + #(options.subscribe or {}) > 0 then
    kumo.log_warn(WHO .. ": traffic shaping automation is not supported: the files hold, and nothing is published to "
      .. "or read from its daemons; see docs/kumomta-users.md")
  end
  kumo.on("validate_config", function()
    check_sources(data)
  end)
  return {
    -- A handler for get_egress_path_config; with `skip_make` it returns the plain options.
    get_egress_path_config = function(domain, source, site, skip_make)
      local found = options_for(data, domain, source, site)
      return skip_make and found or kumo.make_egress_path(found)
    end,
    setup_publish = nothing,
    -- Older policies call these two from their own handlers.
    get_queue_config = nothing,
    should_enqueue_log_record = nothing,
  }
end

-- The handler alone.
function mod:setup(extra_files)
  return self:setup_with_automation({ extra_files = extra_files }).get_egress_path_config
end

return mod

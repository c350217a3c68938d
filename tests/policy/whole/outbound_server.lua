-- A whole policy in the style of KumoMTA's documentation: an outbound server for several customers.
-- Who sends is said by a header; each customer has a pool of addresses; a table says how to talk to which site.

local kumo = require 'kumo'

local STATE = os.getenv 'STATE_DIR' or '/var/spool/outbound'
local SMTP_PORT = tonumber(os.getenv 'DEST_PORT' or '25')

package.path = STATE .. '/?.lua;' .. package.path
local customers = require 'customers'

local LISTENER_DOMAINS = {
  ['bounce.example.com'] = { relay_to = false, log_oob = 'LogThenDrop' },
  ['inbound.example.com'] = { relay_to = true },
  ['partner.example.net'] = { relay_from = { '127.0.0.0/8', '10.0.0.0/24' } },
}

local SOURCES = {
  ['ip-1'] = { source_address = '127.0.0.1', ehlo_domain = 'mta1.example.com' },
  ['ip-2'] = { source_address = '127.0.0.2', ehlo_domain = 'mta2.example.com' },
}

local POOLS = {
  shared = { 'ip-1', 'ip-2' },
  dedicated = { 'ip-2' },
}

local PATHS = {
  default = { connection_limit = 10, max_message_rate = '100/s', enable_tls = 'OpportunisticInsecure' },
  ['big.test'] = { connection_limit = 2, max_deliveries_per_connection = 50, idle_timeout = '10s' },
  ['ip-2'] = { max_connection_rate = '50/min' },
}

local RETRY = {
  ['big.test'] = { retry_interval = '5m', max_retry_interval = '1h' },
}

local function merged(...)
  local result = {}
  for i = 1, select('#', ...) do
    for key, value in pairs((select(i, ...)) or {}) do
      result[key] = value
    end
  end
  return result
end

kumo.on('init', function()
  kumo.set_config_monitor_globs { STATE .. '/*.lua' }
  for _, name in ipairs { 'data', 'meta' } do
    kumo.define_spool { name = name, path = STATE .. '/spool/' .. name, kind = 'RocksDB' }
  end
  kumo.configure_local_logs {
    log_dir = STATE .. '/log',
    headers = { 'Subject', 'X-Customer' },
    meta = { 'tenant', 'campaign', 'received_via' },
    max_segment_duration = '1 second',
    per_record = { Delivery = { suffix = '_delivery' }, Any = { suffix = '_any' } },
  }
  kumo.dns.configure_resolver {
    Test = {
      zones = {
        '$ORIGIN big.test.\n@ 300 IN MX 10 mx1\n@ 300 IN MX 20 mx2\nmx1 300 IN A 127.0.0.1\nmx2 300 IN A 127.0.0.1\n',
        '$ORIGIN small.test.\n@ 300 IN A 127.0.0.1\n',
      },
    },
  }
  kumo.start_esmtp_listener {
    listen = os.getenv 'SMTP_LISTEN' or '0.0.0.0:25',
    hostname = 'mail.example.com',
    banner = 'Welcome',
    relay_hosts = {},
    max_message_size = 10 * 1024 * 1024,
    trace_headers = { received_header = true, supplemental_header = true, include_meta_names = { 'tenant' } },
  }
  kumo.start_http_listener { listen = os.getenv 'HTTP_LISTEN' or '127.0.0.1:8000', trusted_hosts = { '127.0.0.1', '::1' } }
end)

kumo.on('get_listener_domain', function(domain, listener, conn_meta)
  local known = LISTENER_DOMAINS[domain]
  if known then
    return kumo.make_listener_domain(known)
  end
end)

kumo.on('smtp_server_auth_plain', function(authz, authc, password, conn_meta)
  return customers.passwords[authc] == password
end)

kumo.on('smtp_server_mail_from', function(sender, conn_meta)
  if sender.domain == '' then
    return
  end
  if customers.blocked[sender.domain] then
    kumo.reject(550, string.format('5.7.1 %s may not send here', sender.domain))
  end
end)

kumo.on('smtp_server_message_received', function(msg, conn_meta)
  local tenant = msg:get_first_named_header_value 'X-Customer' or 'unknown'
  if not customers.pools[tenant] then
    kumo.reject(552, '5.7.0 unknown customer ' .. tenant)
  end
  msg:set_meta('tenant', tenant)
  local campaign = msg:get_first_named_header_value 'X-Campaign'
  if campaign then
    msg:set_meta('campaign', campaign:lower():gsub('%s+', '-'))
  end
  msg:remove_x_headers { 'x-customer', 'x-campaign' }
  msg:append_header('List-Unsubscribe-Post', 'List-Unsubscribe=One-Click')
end)

kumo.on('get_queue_config', function(domain, tenant, campaign, routing_domain)
  local params = merged({ max_age = '1 day', retry_interval = '20m' }, RETRY[domain])
  params.egress_pool = customers.pools[tenant] or 'shared'
  return kumo.make_queue_config(params)
end)

kumo.on('get_egress_pool', function(pool_name)
  local entries = {}
  for _, name in ipairs(POOLS[pool_name]) do
    table.insert(entries, { name = name, weight = 10 })
  end
  return kumo.make_egress_pool { name = pool_name, entries = entries }
end)

kumo.on('get_egress_source', function(source_name)
  return kumo.make_egress_source(merged({ name = source_name }, SOURCES[source_name]))
end)

kumo.on('get_egress_path_config', function(domain, source_name, site_name)
  local params = merged(PATHS.default, PATHS[domain], PATHS[source_name])
  params.smtp_port = SMTP_PORT
  params.prohibited_hosts = {}
  return kumo.make_egress_path(params)
end)

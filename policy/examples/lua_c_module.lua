--[[ A Lua module written in C: lua-cjson, as Debian packages it for Lua 5.4.

    apt install lua-cjson

kumotwist has JSON of its own (kumo.serde); this shows that whatever Lua can
`require`, a policy can: the C modules that Debian installs are on
`package.cpath` already, others are found beside the policy file.

Here an application puts its wishes into an X-Params header, in JSON:

    X-Params: {"tenant": "shop", "tags": ["order", "receipt"]}
]]
local kumo = require 'kumo'
local cjson = require 'cjson.safe' -- `safe` returns nil and a text in place of raising

local state_dir = os.getenv 'STATE_DIR' or '/var/spool/kumotwist'
local relay = os.getenv 'RELAY' -- a smart host, `host:port` or `[ip]:port`; without it the domain's mail exchangers

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = state_dir .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = state_dir .. '/spool/meta' }
  kumo.configure_local_logs {
    log_dir = state_dir .. '/log',
    max_segment_duration = '10 seconds',
    meta = { 'tenant', 'x_tags' },
  }
  kumo.start_esmtp_listener { listen = os.getenv 'SMTP_LISTEN' or '127.0.0.1:2525' }
end)

kumo.on('smtp_server_message_received', function(msg)
  local header = msg:get_first_named_header_value 'x-params'
  if not header then
    return
  end
  local params, problem = cjson.decode(header)
  if type(params) ~= 'table' then
    kumo.reject(550, '5.6.0 X-Params is not JSON: ' .. (problem or 'an object is wanted'))
  end
  msg:remove_x_headers { 'x-params' }
  if type(params.tenant) == 'string' then
    msg:set_meta('tenant', params.tenant)
  end
  if type(params.tags) == 'table' then
    msg:set_meta('x_tags', cjson.encode(params.tags))
  end
end)

kumo.on('get_queue_config', function(domain, tenant, campaign)
  return kumo.make_queue_config {
    protocol = relay and { smtp = { mx_list = { relay } } } or nil,
    retry_interval = os.getenv 'RETRY_INTERVAL' or '5 minutes',
  }
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  if relay then
    return kumo.make_egress_path { prohibited_hosts = {}, enable_tls = 'OpportunisticInsecure' }
  end
end)

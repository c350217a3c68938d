--[[ Spreading mail by percentage: 20 % SendGrid, 10 % SparkPost, the rest by SMTP.

The choice falls once, at reception, and is kept as the message's routing
domain, so a message that has to be retried stays on its route. The routing
domain is part of the queue's name (`example.com!sendgrid.route`): each route
has queues, retries and limits of its own.
]]
local kumo = require 'kumo'
local providers = require 'providers'

local state_dir = os.getenv 'STATE_DIR' or '/var/spool/kumotwist'
local relay = os.getenv 'RELAY' -- a smart host, `host:port` or `[ip]:port`; without it the domain's mail exchangers

-- SHARES='20,10': per cent by SendGrid and by SparkPost.
local sendgrid_share, sparkpost_share = (os.getenv 'SHARES' or '20,10'):match '^(%d+),(%d+)$'
sendgrid_share, sparkpost_share = assert(tonumber(sendgrid_share), 'SHARES must be like 20,10'), tonumber(sparkpost_share)

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = state_dir .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = state_dir .. '/spool/meta' }
  kumo.configure_local_logs { log_dir = state_dir .. '/log', max_segment_duration = '10 seconds' }
  kumo.start_esmtp_listener { listen = os.getenv 'SMTP_LISTEN' or '127.0.0.1:2525' }
  kumo.start_http_listener { listen = os.getenv 'HTTP_LISTEN' or '127.0.0.1:8000' }
end)

local function choose_route(msg)
  local dice = math.random(100)
  if dice <= sendgrid_share then
    msg:set_meta('routing_domain', 'sendgrid.route')
  elseif dice <= sendgrid_share + sparkpost_share then
    msg:set_meta('routing_domain', 'sparkpost.route')
  end
  -- Without a routing domain the recipient's own domain decides.
end

kumo.on('smtp_server_message_received', choose_route)
kumo.on('http_message_generated', choose_route)

local PROTOCOLS = {
  ['sendgrid.route'] = { custom_lua = { constructor = 'make.sendgrid' } },
  ['sparkpost.route'] = { custom_lua = { constructor = 'make.sparkpost' } },
}

kumo.on('get_queue_config', function(domain, tenant, campaign, routing_domain)
  local protocol = PROTOCOLS[routing_domain or '']
  if not protocol and relay then
    protocol = { smtp = { mx_list = { relay } } }
  end
  return kumo.make_queue_config { protocol = protocol, retry_interval = os.getenv 'RETRY_INTERVAL' or '5 minutes' }
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  -- `domain` is the routing domain where there is one: providers like few connections, kept busy.
  if PROTOCOLS[domain] then
    return kumo.make_egress_path { connection_limit = 16, idle_timeout = '30s' }
  elseif relay then
    return kumo.make_egress_path { prohibited_hosts = {}, enable_tls = 'OpportunisticInsecure' }
  end
end)

kumo.on('make.sendgrid', providers.sendgrid {
  url = os.getenv 'SENDGRID_URL',
  key = os.getenv 'SENDGRID_KEY_FILE' or '/etc/kumotwist/sendgrid.key',
})
kumo.on('make.sparkpost', providers.sparkpost {
  url = os.getenv 'SPARKPOST_URL',
  key = os.getenv 'SPARKPOST_KEY_FILE' or '/etc/kumotwist/sparkpost.key',
})

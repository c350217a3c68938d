--[[ Routing by metadata: the application that injects by HTTP says how.

    curl http://127.0.0.1:8000/api/inject/v1 --json '{
      "envelope_sender": "news@example.com",
      "content": "Subject: Hello {{ name }}\n\nThis is for you.",
      "recipients": [
        {"email": "ann@example.org", "name": "Ann", "metadata": {"route": "mailgun", "campaign": "autumn"}},
        {"email": "bob@example.org", "name": "Bob"}
      ]
    }'

A recipient's `metadata` arrives as the meta value `extra`. Nothing of it goes
out with the message.
]]
local kumo = require 'kumo'
local providers = require 'providers'

local state_dir = os.getenv 'STATE_DIR' or '/var/spool/kumotwist'
local relay = os.getenv 'RELAY' -- a smart host, `host:port` or `[ip]:port`; without it the domain's mail exchangers

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = state_dir .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = state_dir .. '/spool/meta' }
  kumo.configure_local_logs {
    log_dir = state_dir .. '/log',
    max_segment_duration = '10 seconds',
    meta = { 'tenant', 'campaign' },
  }
  kumo.start_http_listener { listen = os.getenv 'HTTP_LISTEN' or '127.0.0.1:8000' }
end)

local ROUTES = { mailgun = true, sparkpost = true, smtp = true }

kumo.on('http_message_generated', function(msg, auth)
  local extra = msg:get_meta 'extra' or {}
  local route = extra.route or 'smtp'
  if not ROUTES[route] then
    -- The application hears of it: this recipient is counted as failed.
    kumo.reject(550, string.format('there is no route %q', tostring(route)))
  end
  -- As tenant and campaign, so that both show in queue names, logs and metrics.
  msg:set_meta('tenant', route)
  if type(extra.campaign) == 'string' then
    msg:set_meta('campaign', extra.campaign)
  end
end)

kumo.on('get_queue_config', function(domain, tenant, campaign)
  local protocol
  if tenant == 'mailgun' or tenant == 'sparkpost' then
    protocol = { custom_lua = { constructor = 'make.' .. tenant } }
  elseif relay then
    protocol = { smtp = { mx_list = { relay } } }
  end
  return kumo.make_queue_config { protocol = protocol, retry_interval = os.getenv 'RETRY_INTERVAL' or '5 minutes' }
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  if relay then
    return kumo.make_egress_path { prohibited_hosts = {}, enable_tls = 'OpportunisticInsecure' }
  end
end)

kumo.on('make.mailgun', providers.mailgun {
  url = os.getenv 'MAILGUN_URL',
  domain = os.getenv 'MAILGUN_DOMAIN' or 'example.com',
  key = os.getenv 'MAILGUN_KEY_FILE' or '/etc/kumotwist/mailgun.key',
})
kumo.on('make.sparkpost', providers.sparkpost {
  url = os.getenv 'SPARKPOST_URL',
  key = os.getenv 'SPARKPOST_KEY_FILE' or '/etc/kumotwist/sparkpost.key',
})

--[[ Routing by mailbox domain: some providers do better at some mailboxes.

Mail to Google goes through SendGrid, mail to Yahoo's many domains through
Mailgun, everything else by SMTP. Nothing has to be noted on the message: a
scheduled queue is for one domain, so `get_queue_config` is told all it needs.
]]
local kumo = require 'kumo'
local providers = require 'providers'

local state_dir = os.getenv 'STATE_DIR' or '/var/spool/kumotwist'
local relay = os.getenv 'RELAY' -- a smart host, `host:port` or `[ip]:port`; without it the domain's mail exchangers

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = state_dir .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = state_dir .. '/spool/meta' }
  kumo.configure_local_logs { log_dir = state_dir .. '/log', max_segment_duration = '10 seconds' }
  kumo.start_esmtp_listener { listen = os.getenv 'SMTP_LISTEN' or '127.0.0.1:2525' }
  kumo.start_http_listener { listen = os.getenv 'HTTP_LISTEN' or '127.0.0.1:8000' }
end)

-- A domain map knows wildcards: `*.example.com` is every name below example.com.
local ROUTES = kumo.domain_map.new {
  ['gmail.com'] = 'make.sendgrid',
  ['googlemail.com'] = 'make.sendgrid',
  ['yahoo.com'] = 'make.mailgun',
  ['*.yahoo.com'] = 'make.mailgun',
  ['ymail.com'] = 'make.mailgun',
}

kumo.on('get_queue_config', function(domain, tenant, campaign)
  local constructor = ROUTES[domain]
  local protocol
  if constructor then
    protocol = { custom_lua = { constructor = constructor } }
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

kumo.on('make.sendgrid', providers.sendgrid {
  url = os.getenv 'SENDGRID_URL',
  key = os.getenv 'SENDGRID_KEY_FILE' or '/etc/kumotwist/sendgrid.key',
})
kumo.on('make.mailgun', providers.mailgun {
  url = os.getenv 'MAILGUN_URL',
  domain = os.getenv 'MAILGUN_DOMAIN' or 'example.com',
  key = os.getenv 'MAILGUN_KEY_FILE' or '/etc/kumotwist/mailgun.key',
})

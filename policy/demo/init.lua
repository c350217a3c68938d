--[[ The demonstration: mail is shared out over two providers and a local relay by a route table, texts go by SMPP,
notifications by FCM.

`make run` starts the daemon with this policy and with stand-ins for the outside world, whose addresses come in the
environment.
]]
local kumo = require 'kumo'

local directory = os.getenv 'DEMO_DIR' or '/var/spool/kumotwist/demo'
local relay = os.getenv 'DEMO_RELAY' or '127.0.0.1:2526' -- our "next hop"
local api = os.getenv 'DEMO_API' or 'http://127.0.0.1:8001' -- the providers
local smsc_host, smsc_port = (os.getenv 'DEMO_SMSC' or '127.0.0.1:2775'):match '^(.+):(%d+)$' -- the operator
local service_account = os.getenv 'DEMO_FCM_ACCOUNT' or directory .. '/service-account.json'
local key = { key_data = 'demo' } -- yours comes from Vault, a file or the environment

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = directory .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = directory .. '/spool/meta' }
  kumo.configure_local_logs {
    log_dir = directory .. '/log',
    max_segment_duration = '1 second',
    headers = { 'Subject' },
  }
  kumo.start_esmtp_listener { listen = os.getenv 'DEMO_SMTP' or '127.0.0.1:2525' }
  kumo.start_http_listener { listen = os.getenv 'DEMO_HTTP' or '127.0.0.1:8000' }
end)

-- Mail is shared out by the table below, unless a header asks for one of its routes. It must not reach the recipient.
local function pin(message)
  local route = message:get_first_named_header_value 'x-route'
  if route then
    message:remove_x_headers { 'x-route' }
    message:set_meta('route', route)
  end
end
kumo.on('smtp_server_message_received', pin)
kumo.on('http_message_generated', pin)

-- Which way? What came by the send API tells it by the kind of address: a phone, a device. All else is mail.
local ways = {
  sms = {
    protocol = {
      smpp = {
        host = smsc_host,
        port = tonumber(smsc_port),
        system_id = 'demo',
        password = key,
        sender = 'SHOP',
        window = 50,
      },
    },
  },
  push = { protocol = { fcm = { service_account = service_account, base_url = api } } },
  mail = { route_table = 'bulk' },
}

kumo.on('get_queue_config', function(domain, tenant, campaign)
  local way = ways[domain] or ways.mail
  return kumo.make_queue_config {
    protocol = way.protocol,
    route_table = way.route_table,
    -- So short only because the demonstration is.
    retry_interval = '2 seconds',
    max_retry_interval = '8 seconds',
    max_age = '2 minutes',
  }
end)

kumo.on('get_route_table', function(name)
  return kumo.make_route_table {
    name = name,
    routes = {
      { name = 'sendgrid', weight = 20, protocol = { sendgrid = { api_key = key, base_url = api } } },
      { name = 'sparkpost', weight = 10, protocol = { sparkpost = { api_key = key, base_url = api } } },
      { name = 'local', weight = 70, protocol = { smtp = { mx_list = { { name = 'relay.example', addr = relay } } } } },
    },
    class = 'all',
    on_failure = 'next_route',
    -- Here an outage lasts seconds, not an hour: memory is as short, little evidence must do, and what the stand-ins
    -- fail all the while is to count for nothing.
    learn = { half_life = '10 seconds', min_samples = 30, margin = 0.1 },
  }
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  return kumo.make_egress_path {
    prohibited_hosts = {}, -- the stand-in is on loopback
    enable_tls = 'OpportunisticInsecure',
    connection_limit = 20,
    max_ready = 10000, -- a large injection need not wait
  }
end)

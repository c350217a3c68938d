-- A whole policy in the style of those found in public: the addresses to send from live on a proxy host.

local kumo = require 'kumo'

local STATE = os.getenv 'STATE_DIR' or '/var/spool/kumomta'

local SOURCES = {
  ['vmta-remote'] = {
    socks5_proxy_server = os.getenv 'PROXY' or '10.20.0.12:5000',
    socks5_proxy_source_address = '127.0.0.9',
    ehlo_domain = 'b.example.com',
  },
  ['vmta-shared'] = {
    socks5_proxy_server = os.getenv 'SHARED_PROXY' or '10.20.0.13:1080',
    socks5_proxy_username = 'mail',
    socks5_proxy_password = { key_data = 'word' },
    ehlo_domain = 'c.example.com',
  },
}

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = STATE .. '/data' }
  kumo.define_spool { name = 'meta', path = STATE .. '/meta' }
  kumo.configure_local_logs { log_dir = STATE .. '/log', headers = { 'Subject' }, max_segment_duration = '1s' }
  kumo.start_esmtp_listener {
    listen = os.getenv 'SMTP_LISTEN' or '0.0.0.0:25',
    relay_hosts = { '127.0.0.1' },
  }
end)

kumo.on('get_queue_config', function(domain, tenant, campaign, routing_domain)
  return kumo.make_queue_config {
    protocol = { smtp = { mx_list = { '127.0.0.1:' .. (os.getenv 'DEST_PORT' or '25') } } },
    egress_pool = domain == 'shared.test' and 'vmta-shared' or 'vmta-remote',
  }
end)

kumo.on('get_egress_pool', function(pool_name)
  return kumo.make_egress_pool { name = pool_name, entries = { { name = pool_name } } }
end)

kumo.on('get_egress_source', function(source_name)
  local params = { name = source_name }
  for key, value in pairs(SOURCES[source_name]) do
    params[key] = value
  end
  return kumo.make_egress_source(params)
end)

kumo.on('get_egress_path_config', function(domain, source_name, site_name)
  return kumo.make_egress_path { enable_tls = 'Disabled', prohibited_hosts = {} }
end)

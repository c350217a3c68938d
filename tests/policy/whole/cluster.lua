-- A whole policy in the style of those found in public: one of several machines that share a Redis server,
-- so that a customer has one allowance, whichever machine he sends through, and a site sees no more connections.

local kumo = require 'kumo'

local STATE = os.getenv 'STATE_DIR' or '/var/spool/kumomta'

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = STATE .. '/data', kind = 'RocksDB' }
  kumo.define_spool { name = 'meta', path = STATE .. '/meta', kind = 'RocksDB' }
  kumo.configure_local_logs { log_dir = STATE .. '/log', max_segment_duration = '1s' }

  -- Use shared throttles and connection limits rather than in-process throttles
  kumo.configure_redis_throttles {
    node = os.getenv 'REDIS_URL' or 'redis://127.0.0.1/',
    pool_size = 10,
    connect_timeout = '5 seconds',
  }

  kumo.start_esmtp_listener {
    listen = os.getenv 'SMTP_LISTEN' or '0.0.0.0:25',
    relay_hosts = { '127.0.0.1' },
  }
end)

kumo.on('smtp_server_message_received', function(msg)
  local throttle = kumo.make_throttle('customer-' .. msg:sender().domain, os.getenv 'ALLOWANCE' or '5/h')
  local result = throttle:throttle()
  if result.throttled then
    kumo.reject(451, string.format('4.7.1 allowance used up, try again in %ds', result.retry_after.secs))
  end
end)

kumo.on('get_queue_config', function(domain, tenant, campaign)
  return kumo.make_queue_config {
    protocol = { smtp = { mx_list = { { name = 'hub.example.com', addr = '127.0.0.1' } } } },
    max_message_rate = '1,000/s',
  }
end)

kumo.on('get_egress_path_config', function(domain, source_name, site_name)
  return kumo.make_egress_path {
    smtp_port = tonumber(os.getenv 'DEST_PORT' or '25'),
    enable_tls = 'Disabled',
    connection_limit = 2,
    max_connection_rate = '100/s',
    max_message_rate = 'local:500/s',
    prohibited_hosts = {},
  }
end)

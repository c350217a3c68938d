-- A whole policy in the style of KumoMTA's documentation that leaves nearly everything to its helpers: who may send,
-- from which addresses, in which queues, how fast, and who is told. All of it stands in data files.

local kumo = require 'kumo'
local listener_domains = require 'policy-extras.listener_domains'
local log_hooks = require 'policy-extras.log_hooks'
local queue_module = require 'policy-extras.queue'
local shaping = require 'policy-extras.shaping'
local sources = require 'policy-extras.sources'

local STATE = os.getenv 'STATE_DIR' or '/var/spool/helpers'

local shaper = shaping:setup_with_automation {
  publish = { 'http://127.0.0.1:8008' },
  subscribe = { 'http://127.0.0.1:8008' },
  extra_files = { STATE .. '/shaping.toml' },
}

log_hooks:new_json {
  name = 'webhook',
  url = os.getenv 'WEBHOOK' or 'http://127.0.0.1:4242/log',
  log_parameters = { headers = { 'Subject' }, meta = { 'tenant' } },
}

sources:setup { STATE .. '/sources.toml' }

local queue_helper = queue_module:setup { STATE .. '/queues.toml' }

kumo.on('init', function()
  for _, name in ipairs { 'data', 'meta' } do
    kumo.define_spool { name = name, path = STATE .. '/spool/' .. name, kind = 'RocksDB' }
  end
  shaper.setup_publish()
  kumo.configure_local_logs { log_dir = STATE .. '/log', headers = { 'Subject' }, max_segment_duration = '1 second' }
  kumo.configure_bounce_classifier { files = { '/opt/kumomta/share/bounce_classifier/iana.toml' } }
  kumo.dns.configure_test_resolver {
    '$ORIGIN big.test.\n@ 300 IN MX 10 mx1\nmx1 300 IN A 127.0.0.1\n',
    '$ORIGIN hub.test.\n@ 300 IN A 127.0.0.1\n',
  }
  kumo.start_esmtp_listener { listen = os.getenv 'SMTP_LISTEN' or '0.0.0.0:25', relay_hosts = {} }
end)

kumo.on('get_listener_domain', listener_domains:setup { STATE .. '/listener_domains.toml' })

kumo.on('smtp_server_message_received', function(msg)
  queue_helper:apply(msg)
end)

kumo.on('get_egress_path_config', shaper.get_egress_path_config)

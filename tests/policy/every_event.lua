-- Registers every event and writes down with what it was called, one JSON object a line.
local kumo = require 'kumo'

local HERE = assert(os.getenv 'POLICY_TEST_DIR')
local SINK = assert(os.getenv 'POLICY_TEST_SINK')

local function kind(value)
  if type(value) ~= 'table' then
    return value == nil and 'nil' or value
  end
  if value.get_data then
    return 'message'
  elseif value.auth_info then
    return 'conn_meta'
  elseif value.email then
    return 'address ' .. value.email
  end
  return value
end

local function note(event, ...)
  local line = { event = event, count = select('#', ...), args = {} }
  for index = 1, line.count do
    line.args[index] = kind((select(index, ...)))
  end
  local file = assert(io.open(HERE .. '/events.jsonl', 'a'))
  file:write(kumo.serde.json_encode(line), '\n')
  file:close()
end

local function noted(event, result)
  kumo.on(event, function(...)
    note(event, ...)
    if result then
      return result(...)
    end
  end)
end

noted 'pre_init'
noted('init', function()
  for _, name in ipairs { 'data', 'meta' } do
    kumo.define_spool { name = name, path = HERE .. '/spool/' .. name }
  end
  kumo.configure_local_logs { log_dir = HERE .. '/log', max_segment_duration = '1 second', meta = { '*' } }
  kumo.configure_log_hook { name = 'hook', per_record = { Any = { enable = false }, Delivery = { enable = true } } }
  kumo.start_esmtp_listener { listen = '127.0.0.1:0', hostname = 'mx.test', relay_hosts = {} }
  kumo.start_http_listener { listen = '127.0.0.1:0', hostname = 'mx.test' }
  kumo.spawn_task { event_name = 'a.task', args = { 'one', 2 } }
end)
noted 'a.task'
noted 'smtp_server_connection_accepted'
noted 'smtp_server_ehlo'
noted('smtp_server_auth_plain', function(_, authc, password)
  return authc == 'user' and password == 'secret'
end)
noted 'smtp_server_mail_from'
noted('get_listener_domain', function(domain)
  return kumo.make_listener_domain { relay_to = domain ~= 'example.com' }
end)
noted 'smtp_server_rcpt_to'
noted 'smtp_server_data'
noted('smtp_server_message_received', function(msg)
  msg:set_meta('tenant', 'acme')
  msg:set_meta('campaign', 'spring')
end)
noted('http_server_validate_auth_basic', function(_, password)
  return password == 'secret'
end)
noted('get_acl_definition', function() end)
noted 'http_message_generated'
noted('get_queue_config', function(domain)
  if domain == 'hook.test' then
    return kumo.make_queue_config { protocol = { custom_lua = { constructor = 'make.hook' } } }
  end
  return kumo.make_queue_config {
    egress_pool = 'a-pool',
    protocol = { smtp = { mx_list = { { name = 'sink.test', addr = '127.0.0.1:' .. SINK } } } },
    retry_interval = domain == 'later.test' and '1 hour' or '1 second',
  }
end)
noted('get_egress_pool', function(name)
  return kumo.make_egress_pool { name = name, entries = { { name = 'a-source' } } }
end)
noted('get_egress_source', function(name)
  return kumo.make_egress_source { name = name }
end)
noted('get_egress_path_config', function()
  return kumo.make_egress_path { prohibited_hosts = {}, enable_tls = 'Disabled' }
end)
noted 'throttle_insert_ready_queue'
noted 'requeue_message'
noted('should_enqueue_log_record', function(msg, hook)
  if msg:get_meta('log_record').reception_protocol == 'LogRecord' then
    return false
  end
  msg:set_meta('queue', 'hook.test')
  return hook == 'hook'
end)
noted('make.hook', function()
  local connection = {}
  function connection:send(message)
    note('connection:send', message)
    return 'taken'
  end
  function connection:close()
    note 'connection:close'
  end
  return connection
end)
noted 'spool_message_enumerated'
noted 'shutdown_logging'

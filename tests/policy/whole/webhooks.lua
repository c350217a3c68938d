-- A whole policy in the style of KumoMTA's documentation: messages come by HTTP, and what becomes of each is posted
-- to the application whose settings a memoized function reads from a file.

local kumo = require 'kumo'

local STATE = os.getenv 'STATE_DIR' or '/var/spool/webhooks'
local SINK = os.getenv 'SINK' or '[127.0.0.1]:25'

kumo.on('pre_init', function()
  kumo.configure_log_hook { name = 'events', headers = { 'Subject' }, meta = { 'x_order', 'tenant' } }
end)

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = STATE .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = STATE .. '/spool/meta' }
  kumo.configure_local_logs { log_dir = STATE .. '/log', max_segment_duration = '1s', filter_event = 'worth_logging' }
  kumo.start_http_listener { listen = os.getenv 'HTTP_LISTEN' or '127.0.0.1:8000', hostname = 'api.example.com' }
  kumo.spawn_task { event_name = 'heartbeat', args = { 'started' } }
end)

local function load_settings(tenant)
  local everything = kumo.serde.json_load(STATE .. '/settings.json')
  print('settings read for', tenant)
  return everything[tenant] or everything.default
end

local settings_of = kumo.memoize(load_settings, { name = 'settings', ttl = '5 minutes', capacity = 100 })

kumo.on('heartbeat', function(args)
  local file <close> = assert(io.open(STATE .. '/heartbeat', 'w'))
  file:write(args[1], ' ', tostring(kumo.time.now()), '\n')
end)

kumo.on('worth_logging', function(msg)
  return msg:get_meta 'reception_protocol' ~= 'LogRecord'
end)

kumo.on('http_server_validate_auth_basic', function(user, password)
  local settings = settings_of(user)
  if settings.password and settings.password == password then
    return { identities = { { identity = user, context = 'HttpBasicAuth' } }, groups = { 'customers' } }
  end
  return false
end)

kumo.on('http_message_generated', function(msg, auth)
  local tenant = 'default'
  for _, id in ipairs(auth.identities) do
    tenant = id.identity
  end
  msg:set_meta('tenant', tenant)
  local extra = msg:get_meta 'extra'
  if extra and extra.order then
    msg:set_meta('x_order', extra.order)
  end
  if #msg:recipient_list() ~= 1 or msg:recipient().domain == 'blocked.test' then
    kumo.reject(550, 'not to ' .. tostring(msg:recipient()))
  end
end)

-- One for the records and one for everything else: the first that returns something decides.
kumo.on('get_queue_config', function(domain, tenant, campaign, routing_domain)
  if domain == 'events.hook' then
    return kumo.make_queue_config {
      protocol = { custom_lua = { constructor = 'make.events', batch_size = 10, max_batch_latency = '100ms' } },
      retry_interval = '1 second',
      max_retry_interval = '2 seconds',
    }
  end
end)

kumo.on('get_queue_config', function(domain, tenant)
  local settings = settings_of(tenant)
  return kumo.make_queue_config {
    protocol = { smtp = { mx_list = { SINK } } },
    max_retry_interval = settings.retry,
    retry_interval = settings.retry,
  }
end)

kumo.on('get_egress_path_config', function()
  return kumo.make_egress_path { enable_tls = 'Disabled', prohibited_hosts = {} }
end)

local WANTED = { Delivery = true, Bounce = true, TransientFailure = true }

kumo.on('should_enqueue_log_record', function(msg, hook_name)
  local record = msg:get_meta 'log_record'
  if record.reception_protocol == 'LogRecord' then
    return false
  end
  if not WANTED[record.type] then
    return false
  end
  msg:set_meta('queue', 'events.hook')
  return true
end)

kumo.on('make.events', function(domain, tenant, campaign)
  local connection = { client = kumo.http.build_client { timeout = '5s', user_agent = 'events/1.0' } }

  function connection:send_batch(messages)
    local payload = {}
    for _, msg in ipairs(messages) do
      local record = msg:get_meta 'log_record'
      table.insert(payload, {
        kind = record.type,
        to = record.recipient,
        code = record.response.code,
        text = record.response.content,
        order = record.meta.x_order,
        tenant = record.meta.tenant,
        subject = record.headers.Subject,
        enhanced = record.response.enhanced_code and record.response.enhanced_code.class or 0,
      })
    end
    local settings = settings_of 'default'
    local response = self.client
      :post(settings.webhook)
      :header('Content-Type', 'application/json')
      :bearer_auth(settings.token)
      :body(kumo.serde.json_encode(payload))
      :send()
    local disposition = string.format('%d %s: %s', response:status_code(), response:status_reason(), response:text())
    if response:status_is_success() then
      return disposition
    end
    kumo.reject(response:status_is_client_error() and 500 or 400, disposition)
  end

  function connection:close()
    self.client:close()
  end

  return connection
end)

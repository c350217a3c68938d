-- A whole policy in the style of KumoMTA's documentation: traffic with rates of the policy's own, messages that change
-- the queue when they fail, delivery at a set time, and metadata from headers.

local kumo = require 'kumo'

local STATE = os.getenv 'STATE_DIR' or '/var/spool/traffic'
local PRIMARY = os.getenv 'PRIMARY' or '[127.0.0.1]:25'
local FALLBACK = os.getenv 'FALLBACK' or '[127.0.0.1]:26'

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = STATE .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = STATE .. '/spool/meta' }
  kumo.configure_local_logs {
    log_dir = STATE .. '/log',
    max_segment_duration = '1s',
    meta = { 'tenant', 'campaign', 'queue', 'x_*' },
  }
  kumo.start_esmtp_listener {
    listen = os.getenv 'SMTP_LISTEN' or '127.0.0.1:2025',
    trace_headers = { supplemental_header = false },
    meta = { via_default = true },
    peer = { ['127.0.0.0/8'] = { meta = { x_local = 'yes' }, max_recipients_per_message = 10 } },
  }
end)

kumo.on('smtp_server_message_received', function(msg, conn_meta)
  msg:import_x_headers { 'x-tenant', 'x-campaign', 'x-priority' }
  msg:set_meta('tenant', msg:get_meta 'x_tenant')
  msg:set_meta('campaign', msg:get_meta 'x_campaign')
  msg:import_scheduling_header('X-Schedule', true)
  msg:remove_x_headers { 'x-tenant', 'x-campaign', 'x-priority' }

  -- A few words in the subject send it to nowhere, or into a queue of its own.
  local subject = msg:get_first_named_header_value 'subject' or ''
  if subject:find '^discard' then
    msg:set_meta('queue', 'null')
  elseif subject:find '^tomorrow' then
    msg:set_scheduling { first_attempt = os.date('!%Y-%m-%dT%H:%M:%SZ', os.time() + 86400) }
  elseif subject:find '^expires' then
    msg:set_scheduling { expires = os.date('!%Y-%m-%dT%H:%M:%SZ', os.time() + 1) }
  end
end)

-- Each tenant may send so much; urgent mail does not wait.
kumo.on('throttle_insert_ready_queue', function(msg)
  if msg:get_meta 'x_priority' == 'urgent' then
    return
  end
  local tenant = msg:get_meta 'tenant'
  if tenant == 'slow' then
    local throttle = kumo.make_throttle('tenant-' .. tenant, '1/2s,max_burst=1')
    throttle:delay_message_if_throttled(msg)
  end
end)

kumo.on('get_queue_config', function(domain, tenant, campaign, routing_domain)
  local hosts = routing_domain == 'fallback.test' and { FALLBACK } or { PRIMARY }
  return kumo.make_queue_config {
    protocol = { smtp = { mx_list = hosts } },
    retry_interval = '1s',
    max_retry_interval = '1s',
    max_age = '5 minutes',
    max_message_rate = tenant == 'bulk' and '20/s' or nil,
    egress_pool = tenant == 'bulk' and 'bulk' or nil,
  }
end)

kumo.on('get_egress_pool', function(name)
  return kumo.make_egress_pool { name = name, entries = { { name = name .. '-a' }, { name = name .. '-b', weight = 3 } } }
end)

kumo.on('get_egress_source', function(name)
  return kumo.make_egress_source { name = name, ehlo_domain = name .. '.example.com' }
end)

kumo.on('get_egress_path_config', function(routing_domain, source, site)
  return kumo.make_egress_path { enable_tls = 'Disabled', prohibited_hosts = {}, connection_limit = '4' }
end)

-- First: what the peer says about content is final.
kumo.on('requeue_message', function(msg, smtp_response, insert_context, increment_attempts, delay)
  if smtp_response:find 'content' then
    kumo.reject(554, '5.6.0 given up: ' .. smtp_response)
  end
end)

-- Second: after the first failure another way, as another tenant; no further handler is to run.
kumo.on('requeue_message', function(msg, smtp_response, insert_context, increment_attempts, delay)
  local reasons = table.concat(insert_context, ',')
  if increment_attempts and reasons:find 'LoggedTransientFailure' and msg:num_attempts() == 0 then
    msg:set_meta('routing_domain', 'fallback.test')
    msg:set_meta('tenant', 'rescued')
    return nil
  end
end)

kumo.on('requeue_message', function(msg)
  if msg:get_meta 'tenant' == 'rescued' then
    error 'the handler before this one ended the chain'
  end
end)

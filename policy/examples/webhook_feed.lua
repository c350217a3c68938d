--[[ A webhook feed: what becomes of each message, posted to an application in batches.

A log hook turns each record into a message of its own, so the feed has what
mail has: a queue, retries, durability over a restart, and its own metrics. The
records arrive as a JSON array; the receiver checks the signature, removes
doubles by `id` and `type`, and answers 2xx quickly.

The signature is that of Standard Webhooks (standardwebhooks.com): three
headers, HMAC-SHA256 over id, time and body.
]]
local kumo = require 'kumo'

local state_dir = os.getenv 'STATE_DIR' or '/var/spool/kumotwist'
local relay = os.getenv 'RELAY' -- a smart host, `host:port` or `[ip]:port`; without it the domain's mail exchangers
local feed_url = os.getenv 'FEED_URL' or 'http://127.0.0.1:9000/mail-events'
-- A file with the shared secret; `{ vault_mount =, vault_path = }` would do as well.
local feed_key = os.getenv 'FEED_KEY_FILE' or '/etc/kumotwist/feed.key'

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = state_dir .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = state_dir .. '/spool/meta' }
  kumo.configure_local_logs { log_dir = state_dir .. '/log', max_segment_duration = '10 seconds' }
  kumo.start_esmtp_listener { listen = os.getenv 'SMTP_LISTEN' or '127.0.0.1:2525' }

  kumo.configure_log_hook {
    name = 'feed',
    headers = { 'Subject', 'X-Order-*' },
    -- The application wants to know how things ended, not that they began.
    per_record = { Reception = { enable = false }, Delayed = { enable = false } },
  }
end)

kumo.on('should_enqueue_log_record', function(msg, hook_name)
  local record = msg:get_meta 'log_record'
  if hook_name ~= 'feed' or record.queue == 'webhook.feed' then
    return false -- records about the feed itself would feed themselves
  end
  msg:set_meta('queue', 'webhook.feed')
  return true
end)

kumo.on('get_queue_config', function(domain, tenant, campaign)
  if domain == 'webhook.feed' then
    return kumo.make_queue_config {
      protocol = {
        custom_lua = {
          constructor = 'make.feed',
          batch_size = 100,
          min_batch_size = 10,
          max_batch_latency = os.getenv 'FEED_LATENCY' or '2 seconds',
        },
      },
      -- An application that is down for a day misses nothing.
      retry_interval = os.getenv 'RETRY_INTERVAL' or '10 seconds',
      max_retry_interval = '10 minutes',
      max_age = '3 days',
    }
  end
  return kumo.make_queue_config {
    protocol = relay and { smtp = { mx_list = { relay } } } or nil,
    retry_interval = os.getenv 'RETRY_INTERVAL' or '5 minutes',
  }
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  if domain == 'webhook.feed' then
    return kumo.make_egress_path { connection_limit = 2, max_ready = 10000 }
  elseif relay then
    return kumo.make_egress_path { prohibited_hosts = {}, enable_tls = 'OpportunisticInsecure' }
  end
end)

kumo.on('make.feed', function(domain, tenant, campaign)
  local client = kumo.http.build_client { timeout = '20s' }
  local connection = {}

  function connection:send_batch(messages)
    local records = {}
    for _, message in ipairs(messages) do
      table.insert(records, message:get_meta 'log_record')
    end
    local body = kumo.json_encode(records)
    -- The first message names the batch: a retry of it carries the same id.
    local id, now = messages[1]:id(), kumo.time.now().unix_timestamp
    local signature = kumo.digest.hmac_sha256(feed_key, string.format('%s.%d.%s', id, now, body))
    local response = client
      :post(feed_url)
      :header('Content-Type', 'application/json')
      :header('webhook-id', id)
      :header('webhook-timestamp', tostring(now))
      :header('webhook-signature', 'v1,' .. signature.base64)
      :body(body)
      :send()
    if response:status_is_success() then
      return string.format('%d %s', response:status_code(), response:status_reason())
    end
    -- 410 says that nobody wants the feed any more; everything else may pass.
    kumo.reject(response:status_code() == 410 and 550 or 451, string.format('%d %s', response:status_code(), response:text()))
  end

  function connection:close()
    client:close()
  end

  return connection
end)

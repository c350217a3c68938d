--[[ What becomes of each message, posted to an application by the channel `webhook`.

The same as webhook_feed.lua without a line of HTTP: the channel signs (Standard
Webhooks), batches and retries, and knows what a reply means. While a secret is
rotated both are named, the new one first; the receiver may know either.
]]
local kumo = require 'kumo'

local state_dir = os.getenv 'STATE_DIR' or '/var/spool/kumotwist'
local relay = os.getenv 'RELAY' -- a smart host, `host:port` or `[ip]:port`; without it the domain's mail exchangers

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = state_dir .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = state_dir .. '/spool/meta' }
  kumo.configure_local_logs { log_dir = state_dir .. '/log', max_segment_duration = '10 seconds' }
  kumo.start_esmtp_listener { listen = os.getenv 'SMTP_LISTEN' or '127.0.0.1:2525' }
  kumo.configure_log_hook {
    name = 'feed',
    headers = { 'Subject', 'X-Order-*' },
    per_record = { Reception = { enable = false }, Delayed = { enable = false } },
  }
end)

kumo.on('should_enqueue_log_record', function(msg, hook_name)
  if hook_name ~= 'feed' or msg:get_meta('log_record').queue == 'webhook.feed' then
    return false -- records about the feed itself would feed themselves
  end
  msg:set_meta('queue', 'webhook.feed')
  return true
end)

kumo.on('get_queue_config', function(domain, tenant, campaign)
  if domain == 'webhook.feed' then
    return kumo.make_queue_config {
      protocol = {
        webhook = {
          url = os.getenv 'FEED_URL' or 'http://127.0.0.1:9000/mail-events',
          content = 'value',
          meta = { 'log_record' },
          secrets = {
            os.getenv 'FEED_KEY_FILE' or '/etc/kumotwist/feed.key',
            os.getenv 'FEED_OLD_KEY_FILE' or '/etc/kumotwist/feed.old.key',
          },
          batch_size = 100,
          min_batch_size = 10,
          max_batch_latency = os.getenv 'FEED_LATENCY' or '2 seconds',
          allow_private_addresses = true, -- the application is in our own network
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
  if relay and domain ~= 'webhook.feed' then
    return kumo.make_egress_path { prohibited_hosts = {}, enable_tls = 'OpportunisticInsecure' }
  end
  return kumo.make_egress_path { connection_limit = 2, max_ready = 10000 }
end)

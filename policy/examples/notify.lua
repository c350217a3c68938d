--[[ People told by text message and chat, with one call of the send API.

  curl -H 'Content-Type: application/json' http://127.0.0.1:8000/api/send/v1 -d '{
    "to": [{"phone": "+493012345678"}, {"chat": "#ops", "platform": "slack"}, {"chat": "-100123", "platform": "telegram"}],
    "subject": "Disk full", "text": "web-3 has 1 % left." }'

Each kind of recipient has a queue of its own (`sms`, `chat!slack`, `chat!telegram`), and with it retries, limits, log
records and metrics. Mail to a phone number, `+493012345678@sms.example`, takes the same way.
]]
local kumo = require 'kumo'

local state_dir = os.getenv 'STATE_DIR' or '/var/spool/kumotwist'
local keys = os.getenv 'KEY_DIR' or '/etc/kumotwist/keys' -- `{ vault_mount =, vault_path = }` would do as well

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = state_dir .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = state_dir .. '/spool/meta' }
  kumo.configure_local_logs { log_dir = state_dir .. '/log', max_segment_duration = '10 seconds' }
  kumo.start_http_listener { listen = os.getenv 'HTTP_LISTEN' or '127.0.0.1:8000' }
  kumo.start_esmtp_listener { listen = os.getenv 'SMTP_LISTEN' or '127.0.0.1:2525' }
end)

local function protocol(domain, platform)
  if domain == 'sms' or domain == 'sms.example' then
    return {
      twilio = {
        account_sid = os.getenv 'TWILIO_ACCOUNT' or 'AC00000000000000000000000000000000',
        auth_token = keys .. '/twilio',
        sender = '+15550001111',
        base_url = os.getenv 'TWILIO_URL',
        max_segments = 2, -- a notice that costs more than two messages is a letter
        transliterate = true,
        text = { subject = 'prefix' },
      },
    }
  elseif domain == 'chat' and platform == 'slack' then
    return { slack = { token = keys .. '/slack', chat = '#ops', base_url = os.getenv 'SLACK_URL' } }
  elseif domain == 'chat' and platform == 'telegram' then
    return { telegram = { token = keys .. '/telegram', base_url = os.getenv 'TELEGRAM_URL' } }
  end
end

kumo.on('get_queue_config', function(domain, tenant, campaign, routing_domain)
  -- 'chat!slack' comes as domain 'chat' with routing domain 'slack'
  return kumo.make_queue_config {
    protocol = protocol(domain, routing_domain), -- none: it is mail
    retry_interval = os.getenv 'RETRY_INTERVAL' or '1 minute',
    max_age = '1 hour', -- news of yesterday
  }
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  return kumo.make_egress_path { connection_limit = 4, max_message_rate = '10/s' }
end)

--[[ A message that has to arrive: by e-mail, and if no receipt says within five minutes that it has, as a notification on
the phone; if that is not taken within a minute either, by text message.

  curl -H 'Content-Type: application/json' http://127.0.0.1:8000/api/inject/v1 -d '{
    "envelope_sender": "shop@example.com", "content": "Subject: Your code\n\n123456",
    "recipients": [{"email": "ann@example.org", "metadata": {"device": "d0a1...", "phone": "+493012345678"}}] }'

It is one message all the way, with one id: a receipt for the mail that comes in time ends it, one that says that the mail
has failed brings the next stage forward. Receipts come from the provider, at /receipts/sendgrid/main.
]]
local kumo = require 'kumo'

local state_dir = os.getenv 'STATE_DIR' or '/var/spool/kumotwist'
local keys = os.getenv 'KEY_DIR' or '/etc/kumotwist/keys' -- `{ vault_mount =, vault_path = }` would do as well

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = state_dir .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = state_dir .. '/spool/meta' }
  kumo.configure_local_logs { log_dir = state_dir .. '/log', max_segment_duration = '10 seconds' }
  kumo.start_http_listener {
    listen = os.getenv 'HTTP_LISTEN' or '127.0.0.1:8000',
    receipts = { sendgrid = { main = { verification_key = keys .. '/sendgrid_events' } } },
  }
end)

-- A recipient's `metadata` arrives as the meta value `extra`; the channels look for their addresses where `to_meta` says.
kumo.on('http_message_generated', function(msg)
  local extra = msg:get_meta 'extra' or {}
  for _, name in ipairs { 'device', 'phone' } do
    if type(extra[name]) ~= 'string' then
      kumo.reject(400, 'metadata.' .. name .. ' is missing')
    end
    msg:set_meta(name, extra[name])
  end
end)

kumo.on('get_queue_config', function()
  return kumo.make_queue_config { route_table = 'mail', retry_interval = os.getenv 'RETRY_INTERVAL' or '1 minute' }
end)

local TABLES = {
  mail = {
    routes = {
      {
        name = 'sendgrid',
        weight = 1,
        protocol = { sendgrid = { api_key = keys .. '/sendgrid', base_url = os.getenv 'SENDGRID_URL' } },
      },
    },
    fallback = {
      { route_table = 'push', wait = '5 minutes', until_state = 'delivered' },
      -- Nobody reports later whether a notification was shown: that it was taken has to do.
      { route_table = 'text', wait = '1 minute', until_state = 'handed_over' },
    },
  },
  push = {
    routes = {
      {
        name = 'fcm',
        weight = 1,
        protocol = {
          fcm = { service_account = keys .. '/fcm.json', to_meta = 'device', base_url = os.getenv 'FCM_URL' },
        },
      },
    },
  },
  text = {
    routes = {
      {
        name = 'twilio',
        weight = 1,
        protocol = {
          twilio = {
            account_sid = os.getenv 'TWILIO_ACCOUNT' or 'AC00000000000000000000000000000000',
            auth_token = keys .. '/twilio',
            sender = '+15550001111',
            to_meta = 'phone',
            base_url = os.getenv 'TWILIO_URL',
          },
        },
      },
    },
  },
}

kumo.on('get_route_table', function(name)
  local table = TABLES[name]
  return kumo.make_route_table { name = name, routes = table.routes, fallback = table.fallback }
end)

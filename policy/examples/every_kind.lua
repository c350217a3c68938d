--[[ One policy for everything that the send API takes: mail, text messages, notifications, chat.

A program asks for people, not for providers:

    curl -H 'Content-Type: application/json' http://127.0.0.1:8000/api/send/v1 -d '{
      "to": [{"email": "ann@example.org"}, {"phone": "(555) 123-4567"}, {"device_token": "...", "platform": "fcm"}],
      "from": {"email": "shop@example.com", "sms": "SHOP"},
      "subject": "Your parcel", "text": "It arrives tomorrow." }'

and this says how each is reached. Texts go by SMPP, notifications to Android by
FCM; to Apple's devices, to browsers and to Slack where a key is there for it.

    SMSC=smsc.example.com:2775 SMPP_SYSTEM_ID=me SMPP_PASSWORD_FILE=/etc/kumotwist/smpp \
    FCM_ACCOUNT=/etc/kumotwist/service-account.json kumotwist run --policy policy/examples/every_kind.lua
]]
local kumo = require 'kumo'

-- The real services; a test puts a stand-in in their place.
local smsc_host, smsc_port = (os.getenv 'SMSC' or 'smsc.example.com:2775'):match '^(.+):(%d+)$'
local fcm_url = os.getenv 'FCM_URL' or 'https://fcm.googleapis.com'
local state_dir = os.getenv 'STATE_DIR' or '/var/spool/kumotwist'
-- Set RELAY (`host`, `host:port` or `[ip]:port`) to send all mail through one host.
local relay = os.getenv 'RELAY'

local smpp = {
  host = smsc_host,
  port = tonumber(smsc_port),
  system_id = os.getenv 'SMPP_SYSTEM_ID' or 'me',
  password = os.getenv 'SMPP_PASSWORD_FILE' or '/etc/kumotwist/smpp',
}

-- The ways out, by the kind of address and, behind it, the platform.
local ways = {
  ['sms'] = { smpp = smpp },
  ['push!fcm'] = {
    fcm = { service_account = os.getenv 'FCM_ACCOUNT' or '/etc/kumotwist/service-account.json', base_url = fcm_url },
  },
}
if os.getenv 'APNS_KEY' then
  ways['push!apns'] = {
    apns = {
      key = os.getenv 'APNS_KEY',
      key_id = os.getenv 'APNS_KEY_ID',
      team_id = os.getenv 'APNS_TEAM_ID',
      topic = os.getenv 'APNS_TOPIC',
    },
  }
end
if os.getenv 'VAPID_KEY' then
  ways['webpush'] = { webpush = { vapid_key = os.getenv 'VAPID_KEY', subject = os.getenv 'VAPID_SUBJECT' } }
end
if os.getenv 'SLACK_TOKEN_FILE' then
  ways['chat!slack'] = { slack = { token = os.getenv 'SLACK_TOKEN_FILE' } }
end

local function kind_of(domain, platform)
  return platform and domain .. '!' .. platform or domain
end

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = state_dir .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = state_dir .. '/spool/meta' }
  kumo.configure_local_logs { log_dir = state_dir .. '/log', max_segment_duration = '10 seconds', meta = { 'tenant' } }
  -- Numbers without + are as people of this country dial them.
  kumo.start_http_listener { listen = os.getenv 'HTTP_LISTEN' or '127.0.0.1:8000', default_region = 'US' }
  -- Receipts come in although nothing is being sent.
  kumo.start_smpp_receiver(smpp)
end)

kumo.on('get_queue_config', function(domain, tenant, campaign, platform)
  local way = ways[kind_of(domain, platform)]
  if way then
    -- Late is as bad as never here, so none of these is tried as long as mail.
    return kumo.make_queue_config {
      retry_interval = os.getenv 'RETRY_INTERVAL' or '1 minute',
      max_age = '4 hours',
      protocol = way,
    }
  end
  return kumo.make_queue_config {
    retry_interval = os.getenv 'RETRY_INTERVAL' or '5 minutes',
    max_retry_interval = '1 hour',
    protocol = relay and { smtp = { mx_list = { relay } } } or nil,
  }
end)

-- What there is no way to is refused at once: the reply has it as that recipient's error.
kumo.on('http_message_generated', function(message)
  local kind = kind_of(message:recipient().domain, message:get_meta 'routing_domain')
  if not (ways[kind] or kind:find('.', 1, true)) then
    kumo.reject(550, 'there is no way to ' .. kind .. ' from here')
  end
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  if relay then
    -- A relay of our own may be on this machine, and need not have a certificate.
    return kumo.make_egress_path { prohibited_hosts = {}, enable_tls = 'OpportunisticInsecure' }
  end
end)

--[[ One policy for everything that the send API takes: mail, text messages, notifications.

A program asks for people, not for providers:

    curl -H 'Content-Type: application/json' http://127.0.0.1:8000/api/send/v1 -d '{
      "to": [{"email": "ann@example.org"}, {"phone": "(555) 123-4567"}, {"device_token": "...", "platform": "fcm"}],
      "from": {"email": "shop@example.com", "sms": "SHOP"},
      "subject": "Your parcel", "text": "It arrives tomorrow." }'

and this says how each is reached. The kind of address is the domain of the
recipient (`sms`, `push`), the platform of a device the routing domain.

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
local retry_interval = os.getenv 'RETRY_INTERVAL' or '5 minutes'

local smpp = {
  host = smsc_host,
  port = tonumber(smsc_port),
  system_id = os.getenv 'SMPP_SYSTEM_ID' or 'me',
  password = os.getenv 'SMPP_PASSWORD_FILE' or '/etc/kumotwist/smpp',
}
local fcm = { service_account = os.getenv 'FCM_ACCOUNT' or '/etc/kumotwist/service-account.json', base_url = fcm_url }

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = state_dir .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = state_dir .. '/spool/meta' }
  kumo.configure_local_logs { log_dir = state_dir .. '/log', max_segment_duration = '10 seconds', meta = { 'tenant' } }
  -- Numbers without + are as people of this country dial them.
  kumo.start_http_listener { listen = os.getenv 'HTTP_LISTEN' or '127.0.0.1:8000', default_region = 'US' }
  -- Receipts come in although nothing is being sent.
  kumo.start_smpp_receiver(smpp)
end)

-- A text message or a notification that is late is worth nothing, so neither is tried as long as mail.
kumo.on('get_queue_config', function(domain, tenant, campaign, routing_domain)
  local short = { retry_interval = os.getenv 'RETRY_INTERVAL' or '1 minute', max_age = '4 hours' }
  if domain == 'sms' then
    short.protocol = { smpp = smpp }
    return kumo.make_queue_config(short)
  end
  if domain == 'push' and routing_domain == 'fcm' then
    short.protocol = { fcm = fcm }
    return kumo.make_queue_config(short)
  end
  return kumo.make_queue_config {
    retry_interval = retry_interval,
    max_retry_interval = '1 hour',
    protocol = relay and { smtp = { mx_list = { relay } } } or nil,
  }
end)

-- What there is no way to is refused at once, with the recipient's own error in the reply.
kumo.on('http_message_generated', function(message)
  local domain = message:recipient().domain
  local is_known = domain ~= 'webpush' and domain ~= 'chat'
  if domain == 'push' then
    is_known = message:get_meta 'routing_domain' == 'fcm'
  end
  if not is_known then
    kumo.reject(550, 'there is no way to reach ' .. domain .. ' from here')
  end
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  if relay then
    -- A relay of our own may be on this machine, and need not have a certificate.
    return kumo.make_egress_path { prohibited_hosts = {}, enable_tls = 'OpportunisticInsecure' }
  end
end)

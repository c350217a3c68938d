--[[ E-mail to SMS: mail to +15551234567@sms.example leaves as a text message.

    POSIXLY_CORRECT=1 swaks --server 127.0.0.1:2525 --from ann@example.com --to +15551234567@sms.example \
      --header 'Subject: Door' --body 'The back door is open'     # without it swaks takes a + for an option

Monitoring, ticket systems and people with a mail program can write text
messages this way. What they write is read as a reader would: HTML as text,
without quoted replies and signatures, links whole. The text goes to an SMSC
by SMPP; for a gateway's HTTP API put its protocol in place of `smpp`, as in
`protocol = { twilio = { account_sid = ..., auth_token = ..., sender = ... } }`.

Text messages cost money: only hosts in TRUSTED may send, and only to numbers.
]]
local kumo = require 'kumo'

local state_dir = os.getenv 'STATE_DIR' or '/var/spool/kumotwist'
local sms_domain = os.getenv 'SMS_DOMAIN' or 'sms.example'

-- Which words of a mail are sent, and how many segments they may take.
local WORDS = { subject = 'prefix' }
local MAX_SEGMENTS = 3

local smsc_host, smsc_port = (os.getenv 'SMSC' or 'smsc.example.com:2775'):match '^(.+):(%d+)$'
local SMSC = {
  host = smsc_host,
  port = tonumber(smsc_port),
  system_id = os.getenv 'SMPP_SYSTEM_ID' or 'me',
  -- A file; `{ vault_mount =, vault_path = }` would do as well.
  password = os.getenv 'SMPP_PASSWORD_FILE' or '/etc/kumotwist/smpp',
  sender = os.getenv 'SMS_SENDER' or 'Example',
  -- Numbers without a country code are dialled from here.
  default_region = os.getenv 'SMS_REGION' or 'US',
  text = WORDS,
  max_segments = MAX_SEGMENTS,
}

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = state_dir .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = state_dir .. '/spool/meta' }
  kumo.configure_local_logs {
    log_dir = state_dir .. '/log',
    max_segment_duration = '10 seconds',
    meta = { 'segments' },
  }
  kumo.start_esmtp_listener {
    listen = os.getenv 'SMTP_LISTEN' or '127.0.0.1:2525',
    relay_hosts = { os.getenv 'TRUSTED' or '127.0.0.1' },
  }
end)

-- Wrong addresses are refused while the sender is still there to hear of it.
kumo.on('smtp_server_rcpt_to', function(recipient)
  if recipient.domain ~= sms_domain then
    kumo.reject(550, '5.7.1 only ' .. sms_domain .. ' is served here')
  elseif not recipient.user:match '^%+?[0-9.-]+$' then
    kumo.reject(550, '5.1.1 write a phone number before @, like +15551234567')
  end
end)

kumo.on('smtp_server_message_received', function(msg)
  local is_readable, sms = pcall(function()
    return msg:as_sms { subject = WORDS.subject, max_segments = MAX_SEGMENTS }
  end)
  if not is_readable then
    kumo.reject(550, '5.6.1 the message has no text that could be read')
  elseif sms.text == '' then
    kumo.reject(550, '5.6.0 the message has neither text nor subject')
  end
  -- So that the log shows what each mail cost.
  msg:set_meta('segments', sms.segments)
end)

kumo.on('get_queue_config', function(domain, tenant, campaign)
  return kumo.make_queue_config {
    protocol = { smpp = SMSC },
    retry_interval = os.getenv 'RETRY_INTERVAL' or '1 minute',
    -- Nobody wants yesterday's alarm.
    max_age = '4 hours',
  }
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  return kumo.make_egress_path { max_message_rate = '20/s' }
end)

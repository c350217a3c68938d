--[[ The demonstration: mail goes 20 % by SendGrid's API, 10 % by SparkPost's, the rest by SMTP; texts go by
SMPP, notifications by FCM.

`make run` starts the daemon with this policy and with stand-ins for the
outside world, whose addresses come in the environment. The benchmark runs it
too, with DEMO_SHARES=0,0, so that what is measured is what is shown.
]]
local kumo = require 'kumo'

local directory = os.getenv 'DEMO_DIR' or '/var/spool/kumotwist/demo'
local relay = os.getenv 'DEMO_RELAY' or '127.0.0.1:2526' -- our "next hop"
local api = os.getenv 'DEMO_API' or 'http://127.0.0.1:8001' -- the providers
local smsc_host, smsc_port = (os.getenv 'DEMO_SMSC' or '127.0.0.1:2775'):match '^(.+):(%d+)$' -- the operator
local service_account = os.getenv 'DEMO_FCM_ACCOUNT' or directory .. '/service-account.json'
local shares = os.getenv 'DEMO_SHARES' or '20,10'
local to_sendgrid, to_sparkpost = shares:match '^(%d+),(%d+)$'
to_sendgrid, to_sparkpost = tonumber(to_sendgrid), tonumber(to_sparkpost)

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = directory .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = directory .. '/spool/meta' }
  kumo.configure_local_logs {
    log_dir = directory .. '/log',
    max_segment_duration = '1 second',
    headers = { 'Subject' },
    meta = { 'tenant' },
  }
  kumo.start_esmtp_listener { listen = os.getenv 'DEMO_SMTP' or '127.0.0.1:2525' }
  kumo.start_http_listener { listen = os.getenv 'DEMO_HTTP' or '127.0.0.1:8000' }
end)

--[[ Which way? For mail an X-Tenant header decides; without one, chance by
share. For the rest, which comes by the send API, the kind of address says it. ]]

local function choose_route(msg)
  local tenant = msg:get_first_named_header_value 'x-tenant'
  if tenant then
    msg:remove_x_headers { 'x-tenant' }
  else
    local chance = math.random(100)
    if chance <= to_sendgrid then
      tenant = 'via_sendgrid'
    elseif chance <= to_sendgrid + to_sparkpost then
      tenant = 'via_sparkpost'
    else
      tenant = 'local'
    end
  end
  msg:set_meta('tenant', tenant)
end

kumo.on('smtp_server_message_received', choose_route)
kumo.on('http_message_generated', function(msg)
  local domain = msg:recipient().domain
  if domain == 'sms' or domain == 'push' then
    msg:set_meta('tenant', 'via_' .. domain)
  else
    choose_route(msg)
  end
end)

kumo.on('get_queue_config', function(domain, tenant, campaign)
  local params = {
    -- So short only because the demonstration is.
    retry_interval = '2 seconds',
    max_retry_interval = '8 seconds',
    max_age = '2 minutes',
  }
  if tenant == 'via_sendgrid' then
    params.protocol = { custom_lua = { constructor = 'make.sendgrid' } }
  elseif tenant == 'via_sparkpost' then
    params.protocol = { custom_lua = { constructor = 'make.sparkpost' } }
  elseif domain == 'sms' then
    params.protocol = {
      smpp = {
        host = smsc_host,
        port = tonumber(smsc_port),
        system_id = 'demo',
        password = { key_data = 'demo' },
        sender = 'SHOP',
        window = 50,
      },
    }
  elseif domain == 'push' then
    params.protocol = { fcm = { service_account = service_account, base_url = api } }
  else
    params.protocol = { smtp = { mx_list = { { name = 'relay.example', addr = relay } } } }
  end
  return kumo.make_queue_config(params)
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  return kumo.make_egress_path {
    prohibited_hosts = {}, -- the stand-in is on loopback
    enable_tls = 'OpportunisticInsecure',
    connection_limit = 20,
    max_ready = 10000, -- a large injection need not wait
  }
end)

--[[ The providers. Both answer in JSON, and 2xx means accepted. ]]

local function settle(response)
  local disposition = string.format('%d %s: %s', response:status_code(), response:status_reason(), response:text())
  if response:status_is_success() then
    return disposition
  end
  -- 429 and 5xx pass; what is wrong with the message itself does not.
  local code = response:status_code()
  kumo.reject((code == 429 or code >= 500) and 400 or 550, disposition)
end

local function provider(path, authorization, make_body)
  return function(domain, tenant, campaign)
    local client = kumo.http.build_client { timeout = '20s' }
    local sender = {}

    function sender:send(message)
      local request = client:post(api .. path)
      request:header('Content-Type', 'application/json')
      request:header('Authorization', authorization)
      request:body(kumo.serde.json_encode(make_body(message)))
      return settle(request:send())
    end

    function sender:close()
      client:close()
    end

    return sender
  end
end

kumo.on('make.sendgrid', provider('/v3/mail/send', 'Bearer demo-key', function(message)
  local _, text_at = message:get_data():find('\r\n\r\n', 1, true)
  return {
    personalizations = { { to = { { email = message:recipient().email } } } },
    from = { email = message:sender().email },
    subject = message:get_first_named_header_value 'subject' or '(none)',
    content = { { type = 'text/plain', value = message:get_data():sub(text_at + 1) } },
  }
end))

kumo.on('make.sparkpost', provider('/api/v1/transmissions', 'demo-key', function(message)
  return {
    recipients = { { address = { email = message:recipient().email } } },
    content = { email_rfc822 = message:get_data() },
    return_path = message:sender().email,
  }
end))

--[[ Routing through e-mail service providers, by tenant.

This is the policy of KumoMTA's article "Rust, Lua, and KumoMTA" (August 2023),
with its own lines as they stand there. What the article leaves out is filled
in here, above all the listeners, the endpoints and the whole SendGrid half.

A message says in its X-Tenant header which way it goes: `via_mg` through
Mailgun's HTTP API, `via_sg` through SendGrid's, anything else by the local MTA.

    VAULT_ADDR=https://vault.example:8200 VAULT_TOKEN=... \
    MAILGUN_DOMAIN=mg.example.com kumotwist run --policy policy/examples/esp_routing.lua

The keys are kept in Vault:
    vault kv put -mount=secret mailgun_apikey key=...
    vault kv put -mount=secret sendgrid_apikey key=...
]]
local kumo = require 'kumo'

-- The real services; a test puts a stand-in in their place.
local mailgun_url = (os.getenv 'MAILGUN_URL' or 'https://api.mailgun.net')
  .. '/v3/' .. (os.getenv 'MAILGUN_DOMAIN' or 'example.com') .. '/messages.mime'
local sendgrid_url = (os.getenv 'SENDGRID_URL' or 'https://api.sendgrid.com') .. '/v3/mail/send'
local state_dir = os.getenv 'STATE_DIR' or '/var/spool/kumotwist'
-- Set RELAY (`host`, `host:port` or `[ip]:port`) to send all local mail through one host.
local relay = os.getenv 'RELAY'

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = state_dir .. '/spool/data' }
  kumo.define_spool { name = 'meta', path = state_dir .. '/spool/meta' }
  kumo.configure_local_logs { log_dir = state_dir .. '/log', max_segment_duration = '10 seconds', meta = { 'tenant' } }
  kumo.start_http_listener { listen = os.getenv 'HTTP_LISTEN' or '127.0.0.1:8000' }
  kumo.start_esmtp_listener { listen = os.getenv 'SMTP_LISTEN' or '127.0.0.1:2525' }
end)

-- How the local MTA sends: retries as a patient sender does, and the relay if there is one.
local params = {
  retry_interval = os.getenv 'RETRY_INTERVAL' or '5 minutes',
  max_retry_interval = '1 hour',
  protocol = relay and { smtp = { mx_list = { relay } } } or nil,
}

kumo.on('get_egress_path_config', function(domain, source, site)
  if relay then
    -- A relay of our own may be on this machine, and need not have a certificate.
    return kumo.make_egress_path { prohibited_hosts = {}, enable_tls = 'OpportunisticInsecure' }
  end
end)

kumo.on('http_message_generated', function(msg)
 -- Assign tenant based on X-Tenant header.
 local tenant = msg:get_first_named_header_value('x-tenant') or 'default'
 msg:remove_x_headers { 'x-tenant' }
 msg:set_meta('tenant', tenant)
end)

-- The same for what comes in by SMTP.
kumo.on('smtp_server_message_received', function(msg)
 local tenant = msg:get_first_named_header_value('x-tenant') or 'default'
 msg:remove_x_headers { 'x-tenant' }
 msg:set_meta('tenant', tenant)
end)

kumo.on('get_queue_config', function(domain, tenant, campaign)
  -- Routing for Mailgun HTTP API
  if tenant == 'via_mg' then
    return kumo.make_queue_config {
      protocol = { custom_lua = {constructor = 'make.mailgun',},},}
  end
  -- Routing for SendGrid HTTP API
  if tenant == 'via_sg' then
    return kumo.make_queue_config {
      protocol = {custom_lua = {constructor = 'make.sendgrid',},},}
  end
  return kumo.make_queue_config(params)
end)

--[[ Configure an HTTP injector for Mailgun ]]--
kumo.on('make.mailgun', function(domain, tenant, campaign)
 local client = kumo.http.build_client {}
 local sender = {}
  -- Get credentials from Vault
-- (VAULT_ADDR and VAULT_TOKEN in the environment say where and as whom)
 local mg_apikey = kumo.secrets.load { vault_mount = 'secret', vault_path = 'mailgun_apikey',}

 function sender:send(message)

   local request = client:post(mailgun_url)
   request:basic_auth('api', mg_apikey)
   request:form_multipart_data {
     to = message:recipient().email,
     message = {data = message:get_data(), file_name = "mime.msg", }
   }
   -- Make the request
   local response = request:send()

   -- and handle the result
   local disposition = string.format(
     '%d %s %s',
     response:status_code(),
     response:status_reason(),
     response:text()
   )
   if response:status_is_success() then
     -- Success!
     return disposition
   end

   -- Failed!
   kumo.reject(400, disposition)
 end
 return sender
end)

--[[ Configure an HTTP injector for SendGrid, which takes JSON and not MIME ]]--
kumo.on('make.sendgrid', function(domain, tenant, campaign)
  local client = kumo.http.build_client {}
  local sender = {}
  local sg_apikey = kumo.secrets.load { vault_mount = 'secret', vault_path = 'sendgrid_apikey' }

  function sender:send(message)
    local content, problem = as_content(message)
    if not content then
      -- Not the provider's fault and not curable by waiting: bounce it.
      kumo.reject(550, problem)
    end
    local from = message:from_header()
    local request = client:post(sendgrid_url)
    request:bearer_auth(sg_apikey)
    request:header('Content-Type', 'application/json')
    request:body(kumo.json_encode {
      personalizations = {
        {
          to = { { email = message:recipient().email } },
          -- Comes back in SendGrid's events, so that they can be matched to this message.
          custom_args = { message_id = message:id() },
        },
      },
      from = { email = from and from.email or message:sender().email, name = from and from.name },
      subject = message:get_first_named_header_value 'subject' or '(no subject)',
      content = { content },
    })
    local response = request:send()
    local disposition = string.format('%d %s %s', response:status_code(), response:status_reason(), response:text())
    if response:status_is_success() then
      return disposition
    end
    -- What is wrong with the message itself stays wrong; a limit, an outage or a bad key pass.
    local code = response:status_code()
    kumo.reject((code == 400 or code == 413) and 550 or 400, disposition)
  end

  function sender:close()
    client:close()
  end

  return sender
end)

-- The text of a message of one part, as SendGrid wants it; or nil and why not.
function as_content(message)
  local kind = message:get_first_named_header_value 'content-type' or 'text/plain'
  local media = kind:lower():match '^%s*([%w/.+-]+)'
  if media ~= 'text/plain' and media ~= 'text/html' then
    return nil, '5.6.0 this policy hands only text/plain and text/html to SendGrid, not ' .. media
  end
  local _, head_end = message:get_data():find('\r\n\r\n', 1, true)
  local body = head_end and message:get_data():sub(head_end + 1) or ''
  local encoding = (message:get_first_named_header_value 'content-transfer-encoding' or '7bit'):lower()
  if encoding:find 'base64' then
    body = kumo.encode.base64_decode((body:gsub('%s', '')))
  elseif encoding:find 'quoted%-printable' then
    body = body:gsub('=\r?\n', ''):gsub('=(%x%x)', function(hex)
      return kumo.encode.hex_decode(hex)
    end)
  end
  if not utf8.len(body) then
    return nil, '5.6.0 the text is not UTF-8, which JSON needs'
  end
  return { type = media, value = body ~= '' and body or ' ' }
end

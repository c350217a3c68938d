-- What tests/bench/http_provider.py runs: everything to an HTTP provider, by a constructor in Lua.
local kumo = require 'kumo'

kumo.on('init', function()
  for _, name in ipairs { 'data', 'meta' } do
    kumo.define_spool { name = name, path = os.getenv 'DEMO_DIR' .. '/spool/' .. name }
  end
  kumo.configure_local_logs { log_dir = os.getenv 'DEMO_DIR' .. '/log', headers = { 'Subject' } }
  kumo.start_esmtp_listener { listen = os.getenv 'DEMO_SMTP' }
  kumo.start_http_listener { listen = os.getenv 'DEMO_HTTP' }
end)

kumo.on('http_message_generated', function(message)
  message:set_meta('tenant', message:get_first_named_header_value 'x-tenant' or 'bench')
end)

kumo.on('get_queue_config', function(domain, tenant, campaign)
  return kumo.make_queue_config { protocol = { custom_lua = { constructor = 'make.sendgrid' } } }
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  return kumo.make_egress_path { connection_limit = 20, max_ready = 10000 }
end)

kumo.on('make.sendgrid', function(domain, tenant, campaign)
  local client, connection = kumo.http.build_client { timeout = '20s' }, {}
  function connection:send(message)
    local _, text_at = message:get_data():find('\r\n\r\n', 1, true)
    local request = client:post(os.getenv 'DEMO_API' .. '/v3/mail/send')
    request:header('Content-Type', 'application/json')
    request:header('Authorization', 'Bearer demo-key')
    request:body(kumo.serde.json_encode {
      personalizations = { { to = { { email = message:recipient().email } } } },
      from = { email = message:sender().email },
      subject = message:get_first_named_header_value 'subject' or '(none)',
      content = { { type = 'text/plain', value = message:get_data():sub(text_at + 1) } },
    })
    local response = request:send()
    local said = string.format('%d %s: %s', response:status_code(), response:status_reason(), response:text())
    if response:status_is_success() then
      return said
    end
    kumo.reject(response:status_code() >= 500 and 400 or 550, said)
  end
  function connection:close()
    client:close()
  end
  return connection
end)

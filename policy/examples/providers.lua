--[[ Constructors for e-mail providers' HTTP APIs, for the policies beside this file.

    local providers = require 'providers'
    kumo.on('make.mailgun', providers.mailgun { domain = 'mg.example.com', key = 'file-with-the-key' })

Each returns what `kumo.on` wants for a custom_lua constructor: a function that
is called once per connection and returns an object with `send`. `key` is a key
source: a file name, { key_data = }, { vault_mount =, vault_path = } ...
Every worker and every connection has its own copy; the HTTP connections
underneath are shared.
]]
local kumo = require 'kumo'
local providers = {}

-- What a provider's answer means for us. Delivered: return the text. Otherwise
-- 4xx tries again later, 5xx bounces.
local function settle(response)
  local code = response:status_code()
  local disposition = string.format('%d %s %s', code, response:status_reason(), response:text())
  if response:status_is_success() then
    return disposition
  end
  -- 400, 413 and 422 are about this message. 401, 403, 429 and 5xx are about
  -- the account or the service: no mail should bounce because a key expired.
  kumo.reject((code == 400 or code == 413 or code == 422) and 550 or 451, disposition)
end

-- The constructor around a function that makes the request.
local function constructor(options, make_request)
  return function(domain, tenant, campaign)
    local client = kumo.http.build_client { timeout = options.timeout or '30s' }
    -- A key file that was made with an editor or `echo` ends in a line break.
    local key = kumo.string.trim(kumo.secrets.load(options.key))
    local connection = {}

    function connection:send(message)
      return settle(make_request(client, message, key):send())
    end

    function connection:close()
      client:close()
    end

    return connection
  end
end

-- Mailgun takes the message as it is, as a file in a form.
function providers.mailgun(options)
  local url = (options.url or 'https://api.mailgun.net') .. '/v3/' .. options.domain .. '/messages.mime'
  return constructor(options, function(client, message, key)
    return client:post(url):basic_auth('api', key):form_multipart_data {
      to = message:recipient().email,
      message = { data = message:get_data(), file_name = 'message.eml' },
    }
  end)
end

-- So does SparkPost, inside JSON.
function providers.sparkpost(options)
  local url = (options.url or 'https://api.sparkpost.com') .. '/api/v1/transmissions'
  return constructor(options, function(client, message, key)
    return client:post(url):header('Authorization', key):header('Content-Type', 'application/json'):body(kumo.json_encode {
      options = { perform_substitutions = false },
      recipients = { { address = { email = message:recipient().email } } },
      content = { email_rfc822 = message:get_data() },
      metadata = { message_id = message:id() },
    })
  end)
end

-- SendGrid takes no MIME: this hands over messages of one UTF-8 text part. See
-- esp_routing.lua for other encodings.
function providers.sendgrid(options)
  local url = (options.url or 'https://api.sendgrid.com') .. '/v3/mail/send'
  return constructor(options, function(client, message, key)
    local _, head_end = message:get_data():find('\r\n\r\n', 1, true)
    local text = head_end and message:get_data():sub(head_end + 1) or ''
    return client:post(url):bearer_auth(key):header('Content-Type', 'application/json'):body(kumo.json_encode {
      personalizations = {
        { to = { { email = message:recipient().email } }, custom_args = { message_id = message:id() } },
      },
      from = { email = message:sender().email },
      subject = message:get_first_named_header_value 'subject' or '(no subject)',
      content = { { type = 'text/plain', value = text ~= '' and text or ' ' } },
    })
  end)
end

return providers

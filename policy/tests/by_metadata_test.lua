-- Tests of policy/examples/by_metadata.lua: the application says which way.
local kumo = require 'kumo'

kumo.test.policy('../examples/by_metadata.lua', {
  env = { MAILGUN_DOMAIN = 'mg.example', MAILGUN_KEY_FILE = '/keys/mailgun', RETRY_INTERVAL = '1 minute' },
})

local function inject(t, metadata)
  return t:http {
    envelope_sender = 'news@example.com',
    content = 'Subject: Hello\n\nThis is for you.',
    recipients = { { email = 'ann@example.org', metadata = metadata } },
  }
end

kumo.test.case('without a route mail goes by SMTP', function(t)
  t:equal(inject(t).success_count, 1)
  t:equal(#t:delivered(), 1)
  t:equal(t:delivered()[1].channel, 'smtp')
  t:equal(t:queued(), 0)
end)

kumo.test.case('mailgun is asked for by its name', function(t)
  t:secret('/keys/mailgun', 'key-1\n')
  t:web('https://api.mailgun.net/', { status = 200, body = 'Queued' })
  inject(t, { route = 'mailgun', campaign = 'autumn' })
  local request = t:requests()[1]
  t:equal(request.url, 'https://api.mailgun.net/v3/mg.example/messages.mime')
  t:contains(request.body, 'ann@example.org')
  t:equal(request.headers.authorization, 'Basic ' .. kumo.encode.base64_encode 'api:key-1')
  local record = t:records('Delivery')[1]
  t:equal(record.queue, 'autumn:mailgun@example.org')
  t:equal(record.meta.tenant, 'mailgun')
end)

kumo.test.case('an outage of mailgun is waited out', function(t)
  t:secret('/keys/mailgun', 'key-1')
  t:web('https://api.mailgun.net/', { { status = 503 }, { status = 200 } })
  inject(t, { route = 'mailgun' })
  t:equal(#t:records 'TransientFailure', 1)
  t:equal(t:queued(), 1)
  t:advance '2 minutes'
  t:equal(#t:records 'Delivery', 1)
  t:equal(t:queued(), 0)
end)

kumo.test.case('an unknown route is refused', function(t)
  local answer = inject(t, { route = 'pigeon' })
  t:equal(answer.fail_count, 1)
  t:contains(answer.errors[1], 'there is no route "pigeon"')
  t:equal(t:records 'Reception', {})
end)

kumo.test.case('a smart host takes the mail where there is one', { env = { RELAY = '192.0.2.25:2525' } }, function(t)
  inject(t)
  t:equal(t:delivered()[1].site, 'mx_list:192.0.2.25:2525')
end)

-- Tests of policy/examples/esp_routing.lua: the X-Tenant header decides, and the keys are in Vault.
local kumo = require 'kumo'

kumo.test.policy('../examples/esp_routing.lua', { env = { MAILGUN_DOMAIN = 'mg.example' } })

local function mail(t, tenant, headers)
  headers = headers or {}
  headers['X-Tenant'] = tenant
  return t:smtp { from = 'news@example.com', to = 'ann@example.org', headers = headers, body = 'Hello, world' }
end

local function vault(t)
  t:secret('secret/mailgun_apikey', 'mg-key')
  t:secret('secret/sendgrid_apikey', 'sg-key')
end

kumo.test.case('without the header mail goes by the local MTA', function(t)
  mail(t, nil)
  t:equal(t:delivered()[1].channel, 'smtp')
  t:equal(t:records('Delivery')[1].meta.tenant, 'default')
end)

kumo.test.case('via_mg goes through Mailgun, and the header does not', function(t)
  vault(t)
  t:web('https://api.mailgun.net/v3/mg.example/messages.mime', { status = 200, body = 'Queued' })
  mail(t, 'via_mg')
  local request = t:requests()[1]
  t:contains(request.body, 'Hello, world')
  t:equal(request.body:find 'X%-Tenant', nil)
  t:equal(t:records('Delivery')[1].response.content, '200 OK Queued')
end)

kumo.test.case('via_sg goes through SendGrid as JSON', function(t)
  vault(t)
  t:web('https://api.sendgrid.com/', { status = 202 })
  mail(t, 'via_sg', { Subject = 'Greetings' })
  local request = t:requests()[1]
  t:equal(request.headers.authorization, 'Bearer sg-key')
  local body = kumo.json_parse(request.body)
  t:equal(body.subject, 'Greetings')
  t:equal(body.content[1].type, 'text/plain')
  t:contains(body.content[1].value, 'Hello, world')
end)

kumo.test.case('SendGrid is not asked about what it cannot take', function(t)
  vault(t)
  mail(t, 'via_sg', { ['Content-Type'] = 'application/pdf' })
  t:equal(t:requests(), {})
  t:contains(t:records('Bounce')[1].response.content, 'only text/plain and text/html')
end)

kumo.test.case('text in an encoding is decoded', function(t)
  vault(t)
  t:web('https://api.sendgrid.com/', { status = 202 })
  t:http {
    envelope_sender = 'news@example.com',
    content = 'Subject: x\nX-Tenant: via_sg\nContent-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n',
    recipients = { { email = 'ann@example.org' } },
  }
  t:contains(kumo.json_parse(t:requests()[1].body).content[1].value, 'café')
end)

kumo.test.case('while Vault has no key, mail waits', function(t)
  t:secret('secret/mailgun_apikey', { error = 'down' })
  t:web('https://api.mailgun.net/', { status = 200 })
  mail(t, 'via_mg')
  t:equal(t:queued(), 1)
  vault(t)
  t:advance '1 hour'
  t:equal(t:queued(), 0)
end)

kumo.test.case('a bad key passes, a bad message does not', function(t)
  vault(t)
  t:web('https://api.sendgrid.com/', { { status = 401 }, { status = 413, body = 'too large' } })
  mail(t, 'via_sg')
  t:equal(#t:records 'TransientFailure', 1)
  t:advance '1 hour'
  t:equal(#t:records 'Bounce', 1)
end)

kumo.test.case('a smart host takes the mail where there is one', { env = { RELAY = '192.0.2.25:2525' } }, function(t)
  t:smtp { from = 'news@example.com', to = 'ann@example.org', body = 'Hello' }
  t:equal(t:delivered()[1].site, 'mx_list:192.0.2.25:2525')
end)

kumo.test.case('Mailgun refuses for now, and text in Base64 is decoded', function(t)
  vault(t)
  t:web('POST https://api.mailgun.net/', { { status = 500, body = 'oops' }, { status = 200 } })
  mail(t, 'via_mg')
  t:record('TransientFailure', { meta = { tenant = 'via_mg' } })
  t:web('POST https://api.sendgrid.com/', { status = 202 })
  t:smtp {
    from = 'news@example.com',
    to = 'ann@example.org',
    headers = { ['X-Tenant'] = 'via_sg', ['Content-Transfer-Encoding'] = 'base64' },
    body = 'Y2Fmw6k=',
  }
  t:contains(t:requests('https://api.sendgrid.com/')[1].json.content[1].value, 'café')
end)

kumo.test.case('a text that is not UTF-8 comes back', function(t)
  vault(t)
  t:smtp {
    from = 'news@example.com',
    to = 'ann@example.org',
    headers = { ['X-Tenant'] = 'via_sg' },
    body = 'caf\xe9',
  }
  t:equal(t:requests(), {})
  t:contains(t:record('Bounce').response.content, 'not UTF-8')
end)

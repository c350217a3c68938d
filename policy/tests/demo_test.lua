-- Tests of policy/demo/init.lua, which `make run` shows.
local kumo = require 'kumo'

kumo.test.policy '../demo/init.lua'

local function mail(t, tenant)
  return t:smtp { from = 'shop@example.com', to = 'ann@example.org', headers = { ['X-Tenant'] = tenant } }
end

kumo.test.case('a header says which way mail goes', function(t)
  t:web('http://127.0.0.1:8001/', { status = 200, body = '{}' })
  mail(t, 'via_sendgrid')
  mail(t, 'via_sparkpost')
  mail(t, 'local')
  t:equal(t:requests()[1].url, 'http://127.0.0.1:8001/v3/mail/send')
  t:equal(t:requests()[2].url, 'http://127.0.0.1:8001/api/v1/transmissions')
  t:equal(t:delivered()[3].channel, 'smtp')
end)

kumo.test.case('without a header chance decides', function(t)
  t:web('http://127.0.0.1:8001/', { status = 200, body = '{}' })
  for _ = 1, 100 do
    mail(t, nil)
  end
  local count = 0
  for _, attempt in ipairs(t:delivered()) do
    count = count + (attempt.channel == 'smtp' and 1 or 0)
  end
  t:is_true(count > 45 and count < 95, 'SMTP, at 70 %')
  t:equal(#t:delivered(), 100)
end)

kumo.test.case('texts go by SMPP, notifications by FCM', function(t)
  t:send {
    to = { { phone = '+12015550123' }, { device_token = 'abc', platform = 'fcm' } },
    from = { sms = 'SHOP' },
    text = 'hello',
  }
  t:equal(#t:delivered(), 2)
  t:equal(t:records('Reception')[1].meta.tenant, 'via_sms')
end)

kumo.test.case('a limit of the provider passes, a bad message does not', function(t)
  t:web('http://127.0.0.1:8001/', { { status = 429 }, { status = 400 } })
  mail(t, 'via_sendgrid')
  t:advance '10 seconds'
  t:equal(#t:records 'TransientFailure', 1)
  t:equal(#t:records 'Bounce', 1)
end)

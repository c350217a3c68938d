-- Tests of policy/demo/init.lua, which `make run` shows.
local kumo = require 'kumo'

kumo.test.policy '../demo/init.lua'

local function mail(t, count, route)
  for _ = 1, count do
    t:smtp { from = 'shop@example.com', to = 'ann@example.org', headers = { ['X-Route'] = route } }
  end
end

kumo.test.case('mail is shared out 20, 10, 70', function(t)
  mail(t, 100)
  t:equal(t:routes(), { sendgrid = 20, sparkpost = 10, ['local'] = 70 })
end)

kumo.test.case('a provider that is out costs a few attempts, and no message', function(t)
  mail(t, 100)
  t:answer('sendgrid', { { 451, '503 Service Unavailable' } })
  mail(t, 100)
  t:equal(t:routes(), { sendgrid = 20, sparkpost = 22, ['local'] = 158 })
  t:equal(#t:records 'TransientFailure', 4)
  t:equal(t:queued(), 0)
end)

kumo.test.case('it has its share back when it is well again', function(t)
  mail(t, 100)
  t:answer('sendgrid', { { 451, '503 Service Unavailable' } })
  mail(t, 100)
  t:answer('sendgrid', { { 202, 'taken' } })
  for _ = 1, 20 do
    t:advance '1 second'
    mail(t, 20)
  end
  local before = t:routes().sendgrid
  mail(t, 100)
  t:equal(t:routes().sendgrid - before, 20)
end)

kumo.test.case('a header asks for a route, and goes no further', function(t)
  mail(t, 3, 'sparkpost')
  t:equal(t:routes(), { sparkpost = 3 })
  t:equal(t:messages()[1]:get_first_named_header_value 'X-Route', nil)
end)

kumo.test.case('texts go by SMPP, notifications by FCM', function(t)
  t:send {
    to = { { phone = '+12015550123' }, { device_token = 'abc', platform = 'fcm' } },
    from = { sms = 'SHOP' },
    text = 'hello',
  }
  t:equal(#t:delivered(), 2)
  t:equal(t:routes(), {})
end)

-- Tests of policy/examples/every_kind.lua: everything that the send API takes.
local kumo = require 'kumo'

kumo.test.policy('../examples/every_kind.lua', { env = { SLACK_TOKEN_FILE = '/keys/slack' } })

kumo.test.case('mail, text and notification in one call', function(t)
  local answer = t:send {
    to = {
      { email = 'ann@example.org' },
      { phone = '(201) 555-0123' },
      { device_token = 'abc', platform = 'fcm' },
      { chat = '#ops', platform = 'slack' },
    },
    from = { email = 'shop@example.com', sms = 'SHOP' },
    subject = 'Your parcel',
    text = 'It arrives tomorrow.',
  }
  t:equal(answer.accepted, 4)
  local found = {}
  for _, attempt in ipairs(t:delivered()) do
    found[attempt.channel] = attempt.queue
  end
  t:equal(found, { smtp = 'example.org', smpp = 'sms', fcm = 'push!fcm', slack = 'chat!slack' })
end)

kumo.test.case('what there is no way to is refused at once', function(t)
  local answer = t:send { to = { { chat = '1', platform = 'telegram' } }, text = 'hello' }
  t:equal(answer.accepted, 0)
  t:contains(answer.recipients[1].error, 'there is no way to chat!telegram from here')
end)

kumo.test.case('an unreachable SMSC is tried again within minutes', function(t)
  t:answer('smpp', { { 'unreachable' }, { 250, 'ok' } })
  t:send { to = { { phone = '+12015550123' } }, text = 'hello', from = { sms = 'SHOP' } }
  t:equal(t:queued(), 1)
  t:advance '3 minutes'
  t:equal(t:delivered()[1].channel, 'smpp')
end)

kumo.test.case('a smart host takes the mail where there is one', { env = { RELAY = '192.0.2.25:2525' } }, function(t)
  t:send { to = { { email = 'ann@example.org' } }, from = { email = 'shop@example.com' }, text = 'hello' }
  t:equal(t:delivered()[1].site, 'mx_list:192.0.2.25:2525')
end)

kumo.test.case('each platform of notifications has its own way', {
  env = {
    APNS_KEY = '/keys/apns', APNS_KEY_ID = 'ABC123DEFG', APNS_TEAM_ID = 'DEF123GHIJ', APNS_TOPIC = 'com.example.app',
    VAPID_KEY = '/keys/vapid', VAPID_SUBJECT = 'mailto:ops@example.com',
  },
}, function(t)
  t:answer('apns', { 550, 'BadDeviceToken' })
  t:send { to = { { device_token = ('ab'):rep(32), platform = 'apns' } }, text = 'hello' }
  t:equal(t:attempts()[1].channel, 'apns')
  t:record('Bounce', { queue = 'push!apns' })
end)

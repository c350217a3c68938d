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

-- Tests of policy/examples/notify.lua: one call of the send API, text messages and chat.
local kumo = require 'kumo'

kumo.test.policy '../examples/notify.lua'

kumo.test.case('each kind of recipient has its own way', function(t)
  local answer = t:send {
    to = {
      { phone = '+493012345678' },
      { chat = '#ops', platform = 'slack' },
      { chat = '-100123', platform = 'telegram' },
    },
    subject = 'Disk full',
    text = 'web-3 has 1 % left.',
  }
  t:equal(answer.accepted, 3)
  local channels = {}
  for _, attempt in ipairs(t:delivered()) do
    channels[#channels + 1] = attempt.channel
  end
  table.sort(channels)
  t:equal(channels, { 'slack', 'telegram', 'twilio' })
end)

kumo.test.case('mail to a number takes the same way, and other mail is mail', function(t)
  t:smtp { from = 'a@example.com', to = '+493012345678@sms.example' }
  t:smtp { from = 'a@example.com', to = 'b@example.org' }
  t:equal(t:delivered()[1].channel, 'twilio')
  t:equal(t:delivered()[2].channel, 'smtp')
end)

kumo.test.case('a provider that wants rest gets it', function(t)
  t:answer('slack', { { 'throttled', 30 }, { 200, 'ok' } })
  t:send { to = { { chat = '#ops', platform = 'slack' } }, text = 'one' }
  t:equal(t:queued(), 1)
  t:advance '20 seconds'
  t:equal(#t:delivered(), 0)
  t:advance '20 seconds'
  t:equal(#t:delivered(), 1)
end)

-- Tests of policy/examples/fallback.lua: e-mail, then a notification, then a text message.
local kumo = require 'kumo'

kumo.test.policy '../examples/fallback.lua'

local function send(t)
  t:http {
    envelope_sender = 'shop@example.com',
    content = 'Subject: Your code\n\n123456',
    recipients = { { email = 'ann@example.org', metadata = { device = 'd0a1', phone = '+493012345678' } } },
  }
end

local function channels(t)
  local found = {}
  for _, attempt in ipairs(t:delivered()) do
    found[#found + 1] = attempt.channel
  end
  return found
end

kumo.test.case('a receipt in time ends it', function(t)
  send(t)
  t:advance '4 minutes'
  t:receipt('ann@example.org', 'delivered')
  t:advance '1 hour'
  t:equal(channels(t), { 'sendgrid' })
  t:equal(t:queued(), 0)
end)

kumo.test.case('an opened mail has arrived', function(t)
  send(t)
  t:receipt('ann@example.org', 'opened')
  t:advance '1 hour'
  t:equal(channels(t), { 'sendgrid' })
end)

kumo.test.case('without a receipt it goes on after five minutes', function(t)
  send(t)
  t:advance '4 minutes'
  t:equal(channels(t), { 'sendgrid' })
  t:equal(t:queued(), 1)
  t:advance '70 seconds'
  t:equal(channels(t), { 'sendgrid', 'fcm' })
  t:equal(t:delivered()[1].id, t:delivered()[2].id)
  t:record('Fallback', { fallback = { table = 'mail', from = 'mail', to = 'push' } })
  t:advance '1 hour'
  t:equal(channels(t), { 'sendgrid', 'fcm' })
  t:equal(t:queued(), 0)
end)

kumo.test.case('a mail that has failed is not waited for', function(t)
  send(t)
  t:receipt('ann@example.org', { state = 'failed', class = 'soft', text = 'mailbox full' })
  t:advance '10 seconds'
  t:equal(channels(t), { 'sendgrid', 'fcm' })
end)

kumo.test.case('what neither mail nor notification reaches, a text does', function(t)
  t:answer('sendgrid', { 550, 'no such mailbox' })
  t:answer('fcm', { 550, 'UNREGISTERED' })
  send(t)
  t:advance '10 seconds'
  t:equal(channels(t), { 'twilio' })
  t:equal(t:queued(), 0)
end)

kumo.test.case('a provider that is out is left at the deadline', function(t)
  t:down('mail/sendgrid', '1 day')
  send(t)
  t:advance '6 minutes'
  t:equal(channels(t), { 'fcm' })
end)

kumo.test.case('each channel finds its own address', function(t)
  send(t)
  local message = t:messages()[1]
  t:equal(message:get_meta 'device', 'd0a1')
  t:equal(message:get_meta 'phone', '+493012345678')
end)

kumo.test.case('without a number there is no message', function(t)
  local answer = t:http {
    envelope_sender = 'shop@example.com',
    content = 'Subject: Your code\n\n123456',
    recipients = { { email = 'ann@example.org', metadata = { device = 'd0a1' } } },
  }
  t:equal(answer.success_count, 0)
  t:equal(t:queued(), 0)
end)

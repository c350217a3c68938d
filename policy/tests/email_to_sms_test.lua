-- Tests of policy/examples/email_to_sms.lua: mail to a number leaves as a text message.
local kumo = require 'kumo'

kumo.test.policy '../examples/email_to_sms.lua'

local function mail(t, to, params)
  params = params or {}
  params.from, params.to = 'ann@example.com', to
  return t:smtp(params)
end

kumo.test.case('mail to a number goes by SMPP', function(t)
  local reply = mail(t, '+15551234567@sms.example', { headers = { Subject = 'Door' }, body = 'The back door is open' })
  t:equal(reply.code, 250)
  t:equal(t:delivered()[1].channel, 'smpp')
  t:equal(t:records('Delivery')[1].meta.segments, 1)
end)

kumo.test.case('only numbers of ours are served', function(t)
  local other = mail(t, '+15551234567@example.org')
  t:equal(other.stage, 'rcpt_to')
  t:contains(other.text, 'only sms.example is served here')
  t:contains(mail(t, 'ann@sms.example').text, 'write a phone number before @')
end)

kumo.test.case('a mail without words is refused', function(t)
  local reply = mail(t, '+15551234567@sms.example', { headers = { Subject = '' }, body = '' })
  t:equal(reply.code, 550)
  t:equal(reply.stage, 'data')
end)

kumo.test.case('strangers may not send', function(t)
  local reply = mail(t, '+15551234567@sms.example', { peer = '192.0.2.77' })
  t:equal(reply.code, 550)
  t:equal(t:delivered(), {})
end)

kumo.test.case('yesterday is not told today', function(t)
  t:answer('smpp', { 451, 'the SMSC is busy' })
  mail(t, '+15551234567@sms.example', { body = 'Fire' })
  t:advance '5 hours'
  t:equal(t:queued(), 0)
  t:equal(#t:records 'Expiration', 1)
end)

kumo.test.case('a mail that nobody can read is refused', function(t)
  local reply = mail(t, '+15551234567@sms.example', {
    data = 'Subject: x\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n\xff\n',
  })
  t:equal(reply.stage, 'data')
end)

kumo.test.case('the SMS centre reports later', function(t)
  mail(t, '+15551234567@sms.example', { body = 'The back door is open' })
  t:advance '10 seconds'
  t:receipt(t:delivered()[1], { state = 'failed', class = 'soft', text = '001 absent subscriber' })
  t:record('Receipt', { id = t:delivered()[1].id, receipt = { state = 'failed', class = 'soft' } })
end)

-- Tests of policy/examples/by_percentage.lua: 20 % SendGrid, 10 % SparkPost, the rest by SMTP.
local kumo = require 'kumo'

kumo.test.policy('../examples/by_percentage.lua', {
  env = { SENDGRID_KEY_FILE = '/keys/sendgrid', SPARKPOST_KEY_FILE = '/keys/sparkpost', RETRY_INTERVAL = '1 minute' },
})

local function providers(t)
  t:secret('/keys/sendgrid', 'sg')
  t:secret('/keys/sparkpost', 'sp')
  t:web('https://api.sendgrid.com/', { status = 202 })
  t:web('https://api.sparkpost.com/', { status = 200 })
end

local function mail(t, count)
  for number = 1, count do
    t:smtp { from = 'news@example.com', to = 'user' .. number .. '@example.org', body = 'Hello' }
  end
end

kumo.test.case('all mail leaves, by three ways', function(t)
  providers(t)
  mail(t, 200)
  t:equal(#t:delivered(), 200)
  local by = {}
  for _, attempt in ipairs(t:delivered()) do
    local way = attempt.queue:match '!(.+)$' or 'smtp'
    by[way] = (by[way] or 0) + 1
  end
  -- The policy throws dice: 200 throws are within these bounds in all but a few of a million runs.
  t:is_true(by['sendgrid.route'] > 15 and by['sendgrid.route'] < 70, 'SendGrid, at 20 %')
  t:is_true(by['sparkpost.route'] > 3 and by['sparkpost.route'] < 45, 'SparkPost, at 10 %')
  t:is_true(by.smtp > 100, 'SMTP, at 70 %')
end)

kumo.test.case('a message that waits stays on its route', function(t)
  providers(t)
  t:web('https://api.sendgrid.com/', { status = 429, body = 'slow down' })
  t:web('https://api.sparkpost.com/', { status = 500 })
  mail(t, 30)
  local waiting = t:queued()
  t:is_true(waiting > 0)
  providers(t)
  t:advance '10 minutes'
  t:equal(t:queued(), 0)
  t:equal(#t:records 'Bounce', 0)
  t:is_true(#t:requests() >= 2 * waiting)
end)

kumo.test.case('what SendGrid cannot read comes back at once', function(t)
  providers(t)
  t:web('https://api.sendgrid.com/', { status = 400, body = 'bad request' })
  mail(t, 30)
  t:equal(t:queued(), 0)
  t:contains(t:records('Bounce')[1].response.content, 'bad request')
end)

kumo.test.case('a smart host takes the mail where there is one', { env = { RELAY = '192.0.2.25:2525' } }, function(t)
  providers(t)
  for number = 1, 20 do
    t:smtp { from = 'news@example.com', to = 'user' .. number .. '@example.org', body = 'Hello' }
  end
  for _, attempt in ipairs(t:delivered()) do
    t:equal(attempt.channel == 'smtp', attempt.site == 'mx_list:192.0.2.25:2525', attempt.channel)
  end
end)

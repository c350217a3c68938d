-- Tests of policy/examples/webhook_feed.lua: what becomes of each message is posted to an application.
local kumo = require 'kumo'

kumo.test.policy('../examples/webhook_feed.lua', { env = { FEED_KEY_FILE = '/keys/feed' } })

local function mail(t, count)
  for number = 1, count do
    t:smtp { from = 'shop@example.com', to = 'user' .. number .. '@example.org', headers = { ['X-Order-Id'] = '7' } }
  end
end

kumo.test.case('records arrive in one signed batch', function(t)
  t:secret('/keys/feed', 'shared')
  t:web('http://127.0.0.1:9000/mail-events', { status = 200 })
  mail(t, 3)
  t:advance '5 seconds'
  t:equal(#t:requests(), 1)
  local request = t:requests()[1]
  t:contains(request.headers['webhook-signature'], 'v1,')
  local records = kumo.json_parse(request.body)
  t:equal(#records, 3)
  t:equal(records[1].type, 'Delivery')
  t:equal(records[1].headers['X-Order-Id'], '7')
end)

kumo.test.case('an application that is down misses nothing', function(t)
  t:secret('/keys/feed', 'shared')
  t:web('http://127.0.0.1:9000/', { { error = 'connection refused' }, { status = 503 }, { status = 200 } })
  mail(t, 1)
  t:advance '10 minutes'
  t:equal(#t:requests(), 3)
  t:equal(t:queued(), 0)
end)

kumo.test.case('nobody wants the feed any more', function(t)
  t:secret('/keys/feed', 'shared')
  t:web('http://127.0.0.1:9000/', { status = 410 })
  mail(t, 1)
  t:advance '1 minute'
  t:equal(t:queued(), 0)
  t:equal(#t:requests(), 1)
end)

kumo.test.case('a smart host takes the mail where there is one', { env = { RELAY = '192.0.2.25:2525' } }, function(t)
  t:secret('/keys/feed', 'shared')
  t:web('http://127.0.0.1:9000/', { status = 200 })
  t:smtp { from = 'news@example.com', to = 'ann@example.org', body = 'Hello' }
  t:equal(t:delivered()[1].site, 'mx_list:192.0.2.25:2525')
end)

-- Tests of policy/examples/record_feed.lua: the same feed by the channel `webhook`.
local kumo = require 'kumo'

kumo.test.policy '../examples/record_feed.lua'

kumo.test.case('each end of a message is fed, and the feed is not', function(t)
  t:answer('smtp', { { 250, 'ok' }, { 550, '5.1.1 unknown' } })
  t:smtp { from = 'shop@example.com', to = 'ann@example.org' }
  t:smtp { from = 'shop@example.com', to = 'bob@example.org' }
  t:advance '5 seconds'
  local kinds = {}
  for _, attempt in ipairs(t:delivered()) do
    if attempt.channel == 'webhook' then
      t:equal(attempt.queue, 'webhook.feed')
      kinds[#kinds + 1] = attempt.meta.log_record.type
    end
  end
  t:equal(kinds, { 'Delivery', 'Bounce' })
end)

kumo.test.case('the feed is patient', function(t)
  t:answer('webhook', { { 451, 'down' }, { 200, 'ok' } })
  t:smtp { from = 'shop@example.com', to = 'ann@example.org' }
  t:equal(t:queued(), 1)
  t:advance '1 minute'
  t:equal(t:queued(), 0)
end)

kumo.test.case('a smart host takes the mail where there is one', { env = { RELAY = '192.0.2.25:2525' } }, function(t)
  t:smtp { from = 'news@example.com', to = 'ann@example.org', body = 'Hello' }
  t:equal(t:delivered()[1].site, 'mx_list:192.0.2.25:2525')
end)

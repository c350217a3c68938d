-- Tests of policy/examples/by_mailbox_domain.lua: the recipient's mailbox provider decides.
local kumo = require 'kumo'

kumo.test.policy('../examples/by_mailbox_domain.lua', {
  env = { SENDGRID_KEY_FILE = '/keys/sendgrid', MAILGUN_KEY_FILE = '/keys/mailgun', MAILGUN_DOMAIN = 'mg.example' },
})

local EXPECTED = {
  ['gmail.com'] = 'https://api.sendgrid.com/v3/mail/send',
  ['yahoo.com'] = 'https://api.mailgun.net/v3/mg.example/messages.mime',
  ['mail.yahoo.com'] = 'https://api.mailgun.net/v3/mg.example/messages.mime',
}

for domain, url in pairs(EXPECTED) do
  kumo.test.case('mail to ' .. domain .. ' goes by its provider', function(t)
    t:secret('/keys/sendgrid', 'sg')
    t:secret('/keys/mailgun', 'mg')
    t:web('https://', { status = 200 })
    t:smtp { from = 'news@example.com', to = 'ann@' .. domain, body = 'Hello' }
    t:equal(#t:delivered(), 1)
    t:equal(t:requests()[1].url, url)
  end)
end

kumo.test.case('all other mail goes to the mail exchangers', function(t)
  t:dns [[
$ORIGIN example.org.
@ 600 MX 10 mail.example.org.
mail 600 A 192.0.2.7
]]
  t:smtp { from = 'news@example.com', to = 'ann@example.org', body = 'Hello' }
  t:equal(t:delivered()[1].channel, 'smtp')
  t:equal(t:delivered()[1].site, 'mail.example.org')
end)

kumo.test.case('a domain that does not exist', function(t)
  t:dns [[
$ORIGIN example.org.
@ 600 MX 10 mail.example.org.
]]
  t:smtp { from = 'news@example.com', to = 'ann@nowhere.example', body = 'Hello' }
  t:equal(#t:delivered(), 0)
end)

kumo.test.case('a smart host takes the mail where there is one', { env = { RELAY = '192.0.2.25:2525' } }, function(t)
  t:smtp { from = 'news@example.com', to = 'ann@example.org', body = 'Hello' }
  t:equal(t:delivered()[1].site, 'mx_list:192.0.2.25:2525')
end)

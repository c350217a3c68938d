-- Tests of policy/examples/lua_c_module.lua, which needs Debian's lua-cjson.
local kumo = require 'kumo'

kumo.test.policy '../examples/lua_c_module.lua'

local function mail(t, params)
  return t:smtp { from = 'shop@example.com', to = 'ann@example.org', headers = { ['X-Params'] = params } }
end

kumo.test.case('wishes of the application become metadata, and go no further', function(t)
  mail(t, '{"tenant": "shop", "tags": ["order", "receipt"]}')
  local message = t:messages()[1]
  t:equal(message:get_meta 'tenant', 'shop')
  t:equal(message:get_meta 'x_tags', '["order","receipt"]')
  t:equal(message:get_first_named_header_value 'X-Params', nil)
  t:equal(t:delivered()[1].site, 'example.org')
end)

kumo.test.case('mail without wishes is mail', function(t)
  t:equal(mail(t, nil).code, 250)
  t:equal(t:messages()[1]:get_meta 'tenant', nil)
end)

kumo.test.case('what is not JSON is refused', function(t)
  local reply = mail(t, '{"tenant": ')
  t:equal(reply.code, 550)
  t:contains(reply.text, 'X-Params is not JSON')
  t:equal(mail(t, '7').code, 550)
end)

kumo.test.case('a smart host takes the mail where there is one', { env = { RELAY = '192.0.2.25:2525' } }, function(t)
  mail(t, '{}')
  t:equal(t:delivered()[1].site, 'mx_list:192.0.2.25:2525')
end)

-- Read by outbound_server.lua.
local customers = {
  passwords = { acme = 'roadrunner' },
  pools = { acme = 'dedicated', ['Globex Inc'] = 'shared' },
  blocked = { ['spam.example'] = true },
}
return customers

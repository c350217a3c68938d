-- What a container finds out about its network, with the functions of KumoMTA's module of this name.
-- Names are looked up by the system's own resolver, which knows those of other containers from the start.

local kumo = require 'kumo'

local mod = {}

local function resolve_docker_name(name)
  if type(name) ~= 'string' or not name:match '^[%w][%w._-]*$' then
    error(string.format("policy-extras.docker_utils: '%s' is no host name", name), 2)
  end
  -- Lua has no pipes here, so the answer goes through a file.
  local found, answer = {}, os.tmpname()
  os.execute(string.format("getent ahostsv4 '%s' > '%s'", name, answer))
  for line in io.lines(answer) do
    found[#found + 1] = line:match '^(%d+%.%d+%.%d+%.%d+)%s+STREAM'
  end
  os.remove(answer)
  return found
end

-- The IPv4 addresses of a name; kept for a minute.
mod.resolve_docker_name = kumo.memoize(resolve_docker_name, {
  name = 'resolve_docker_name',
  ttl = '1 minute',
  capacity = 1024,
})

-- The /24 that this container is in.
mod.resolve_docker_network = kumo.memoize(function()
  local hostname = os.getenv 'HOSTNAME'
  if not hostname then
    error('policy-extras.docker_utils: HOSTNAME is not set in the environment', 2)
  end
  local address = mod.resolve_docker_name(hostname)[1]
  if not address then
    error(string.format("policy-extras.docker_utils: '%s' has no IPv4 address", hostname), 2)
  end
  return address:match '^(.*)%.%d+$' .. '.0/24'
end, {
  name = 'resolve_docker_network',
  ttl = '1 hour',
  capacity = 1,
})

-- Where the daemons of traffic shaping automation would be asked.
function mod.resolve_tsa_endpoints()
  local endpoints = {}
  for _, address in ipairs(mod.resolve_docker_name 'tsa') do
    endpoints[#endpoints + 1] = string.format('http://%s:8008', address)
  end
  return endpoints
end

return mod

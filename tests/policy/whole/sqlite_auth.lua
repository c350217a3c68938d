-- A whole policy in the style of those found in public: submission for users who stand in an SQLite database,
-- in a container that asks its network for who may relay without a login.

local kumo = require 'kumo'
local sqlite = require 'sqlite'
local docker_utils = require 'policy-extras.docker_utils'

local STATE = os.getenv 'STATE_DIR' or '/var/spool/kumomta'
local AUTH_DB = STATE .. '/auth.db'

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = STATE .. '/data' }
  kumo.define_spool { name = 'meta', path = STATE .. '/meta' }
  kumo.configure_local_logs { log_dir = STATE .. '/log', max_segment_duration = '1s' }
  kumo.start_esmtp_listener {
    listen = os.getenv 'SMTP_LISTEN' or '0.0.0.0:587',
    relay_hosts = { docker_utils.resolve_docker_network() },
  }
end)

local function sqlite_auth_check(user, password)
  if password == '' then
    return false
  end
  local db = sqlite.open(AUTH_DB)
  local result = db:execute('select user from auth where user=? and pass=?', user, password)
  db:close()
  -- The query returns the username only when the password matched.
  return result[1] == user
end

local cached_auth_check = kumo.memoize(sqlite_auth_check, {
  name = 'smtp_auth',
  ttl = '5 minutes',
  capacity = 100,
})

kumo.on('smtp_server_auth_plain', function(authz, authc, password, conn_meta)
  return cached_auth_check(authc, password)
end)

kumo.on('get_listener_domain', function(domain, listener, conn_meta)
  -- Whoever has logged in may send to anywhere.
  return kumo.make_listener_domain { relay_to = conn_meta:get_meta 'authn_id' ~= nil }
end)

kumo.on('smtp_server_message_received', function(msg)
  -- Guard against SMTP smuggling (reject non-canonical line endings).
  local failed = msg:check_fix_conformance('NON_CANONICAL_LINE_ENDINGS', '')
  if failed then
    kumo.reject(552, string.format('5.6.0 %s', failed))
  end
end)

kumo.on('get_queue_config', function(domain, tenant, campaign, routing_domain)
  return kumo.make_queue_config {
    protocol = { smtp = { mx_list = { '127.0.0.1:' .. (os.getenv 'DEST_PORT' or '25') } } },
  }
end)

kumo.on('get_egress_path_config', function(domain, source_name, site_name)
  return kumo.make_egress_path { enable_tls = 'Disabled', prohibited_hosts = {} }
end)

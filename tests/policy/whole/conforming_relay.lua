-- A whole policy in the style of those found in public: a relay for applications that write sloppy mail.
-- What cannot be understood is refused, the rest is put right before it is signed; each message gets an id of its own.

local kumo = require 'kumo'

local STATE = os.getenv 'STATE_DIR' or '/var/spool/kumomta'

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = STATE .. '/data', kind = 'RocksDB' }
  kumo.define_spool { name = 'meta', path = STATE .. '/meta', kind = 'RocksDB' }
  kumo.configure_local_logs {
    log_dir = STATE .. '/log',
    headers = { 'Subject', 'X-Trace-Id' },
    max_segment_duration = '1s',
  }
  kumo.start_http_listener { listen = os.getenv 'HTTP_LISTEN' or '127.0.0.1:8000' }
  kumo.start_esmtp_listener {
    listen = os.getenv 'SMTP_LISTEN' or '0.0.0.0:25',
    hostname = 'relay.example.com',
    relay_hosts = { '127.0.0.1' },
  }
end)

local function put_right(msg)
  local failed = msg:check_fix_conformance(
    -- check for and reject messages with these issues:
    'MISSING_COLON_VALUE',
    -- fix messages with these issues:
    'LINE_TOO_LONG|NAME_ENDS_WITH_SPACE|NEEDS_TRANSFER_ENCODING|NON_CANONICAL_LINE_ENDINGS|MISSING_DATE_HEADER|MISSING_MESSAGE_ID_HEADER|MISSING_MIME_VERSION',
    { detect_encoding = true, include_encodings = { 'iso-8859-1' } }
  )
  if failed then
    kumo.reject(552, string.format('5.6.0 %s', failed))
  end
  msg:append_header('X-Trace-Id', kumo.uuid.new_v7().hyphenated)
end

kumo.on('smtp_server_message_received', put_right)
kumo.on('http_message_generated', put_right)

kumo.on('get_queue_config', function(domain, tenant, campaign)
  return kumo.make_queue_config {
    protocol = { smtp = { mx_list = { { name = 'hub.example.com', addr = '127.0.0.1' } } } },
    max_age = '4 hours',
  }
end)

kumo.on('get_egress_path_config', function(domain, source_name, site_name)
  return kumo.make_egress_path {
    smtp_port = tonumber(os.getenv 'DEST_PORT' or '25'),
    enable_tls = 'Disabled',
    connection_limit = 5,
    prohibited_hosts = {},
  }
end)

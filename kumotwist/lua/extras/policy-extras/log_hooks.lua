-- Log records to somewhere else, each a message in a queue of its own that is retried as mail is.
-- (require 'policy-extras.log_hooks'):new_json { name = 'webhook', url = 'https://example.com/events' }
--
-- Set hooks up before handlers that answer get_queue_config for every domain; policy-extras.queue leaves them theirs.

local kumo = require "kumo"
local utils = require "policy-extras.policy_utils"

-- `QUEUES` has the name of each hook's queue, as a key.
local mod = { QUEUES = {} }
local WHO = "policy-extras.log_hooks"
-- KumoMTA's: a receiver that is down is asked again soon, and then less and less often.
local RETRY = { retry_interval = "1m", max_retry_interval = "20m" }
local BATCHING = { "batch_size", "max_batch_latency", "min_batch_size" }
local OPTIONS = { "batch_size", "constructor", "filter", "log_parameters", "max_batch_latency", "min_batch_size", "name",
  "queue_config" }
local JSON_OPTIONS = { "batch_size", "filter", "log_parameters", "max_batch_latency", "min_batch_size", "name",
  "queue_config", "url" }

local function check(options, known, method)
  local where = string.format("%s:%s", WHO, method)
  utils.refuse_unknown(options, known, where)
  if type(options.name) ~= "string" then
    error(where .. ": option 'name' must be a string", 0)
  end
end

-- The queue of a hook: Lua delivery by its constructor, with the retry times that were asked for.
local function queue_config(options, constructor)
  local protocol = { constructor = constructor }
  for _, name in ipairs(BATCHING) do
    protocol[name] = options[name]
  end
  local config = utils.merge_into(RETRY, { protocol = { custom_lua = protocol } })
  return utils.merge_into(options.queue_config or {}, config)
end

-- `constructor(domain, tenant, campaign)` makes the connection that `send`s the records. `filter(msg, name)` that is
-- true keeps a record out.
function mod:new(options)
  check(options, OPTIONS, "new")
  if type(options.constructor) ~= "function" then
    error(WHO .. ":new: option 'constructor' must be a function", 0)
  end
  local domain = options.name .. ".log_hook"
  local constructor = "make." .. domain
  local config = queue_config(options, constructor)
  utils.checked(string.format("%s:new '%s'", WHO, options.name), kumo.make_queue_config, config)

  mod.QUEUES[domain] = true
  kumo.on("pre_init", function()
    kumo.configure_log_hook(utils.merge_into(options.log_parameters or {}, { name = options.name }))
  end)

  kumo.on("should_enqueue_log_record", function(msg, hook_name)
    if hook_name ~= options.name then
      return
    end
    local record = msg:get_meta "log_record"
    if record and record.reception_protocol == "LogRecord" or options.filter and options.filter(msg, hook_name) then
      return false
    end
    msg:set_meta("queue", domain)
    return true
  end)

  kumo.on("get_queue_config", function(queue_domain)
    if queue_domain == domain then
      return kumo.make_queue_config(config)
    end
  end)

  kumo.on(constructor, options.constructor)
end

local function answer_of(response)
  local answer = string.format("%d %s: %s", response:status_code(), response:status_reason(), response:text())
  if not response:status_is_success() then
    kumo.reject(500, answer) -- permanent, as KumoMTA has it: write a constructor of your own to try again
  end
  return answer
end

local function json_connection(options)
  local client = kumo.http.build_client {}
  local connection = {}

  local function post(body)
    return answer_of(client:post(options.url):header("Content-Type", "application/json"):body(body):send())
  end

  if (options.batch_size or 1) > 1 then
    function connection:send_batch(messages)
      local records = {}
      for index, message in ipairs(messages) do
        records[index] = message:get_meta "log_record"
      end
      return post(kumo.serde.json_encode(records))
    end
  else
    function connection:send(message)
      return post(message:get_data())
    end
  end

  function connection:close()
    client:close()
  end

  return connection
end

-- POSTs each record to `url` as JSON; with a `batch_size` above 1, several as a list.
function mod:new_json(options)
  check(options, JSON_OPTIONS, "new_json")
  if type(options.url) ~= "string" then
    error(WHO .. ":new_json: option 'url' must be a string", 0)
  end
  local full = utils.merge_into(options, {
    constructor = function()
      return json_connection(options)
    end,
  })
  full.url = nil
  self:new(full)
end

function mod:new_disposition_hook()
  kumo.configure_log_disposition_hook() -- says that it is not there
end

return mod

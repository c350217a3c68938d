"""The policy as the rest of the house asks it: events, defaults, chains, declarations, reloads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.lua import Bench, now
from twisted.internet.defer import Deferred

from kumotwist.config.egress import PathConfig, PoolEntry
from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.core.address import parse_address
from kumotwist.core.connection import AuthInfo, ConnectionMeta, Identity
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.queuename import parse
from kumotwist.core.stats import Histogram
from kumotwist.lua.policy import SETTLED_AFTER, WATCH_INTERVAL, Policy

CONN = ConnectionMeta()


# -- registration ---------------------------------------------------------------------------------


def test_a_second_handler_of_a_single_event_names_the_first(bench: Bench) -> None:
    """kumo.on refuses it, with the place of the first."""
    with pytest.raises(
        PolicyError, match=r"policy\.lua:2: init event already has a handler defined at .*policy\.lua:1"
    ):
        bench.policy("kumo.on('init', function() end)\nkumo.on('init', function() end)")


def test_handlers_are_registered_at_load_only(bench: Bench) -> None:
    """kumo.on within an event is refused."""
    policy = bench.policy("kumo.on('init', function()\nkumo.on('x', print) end)")
    with pytest.raises(PolicyError, match=r"policy\.lua:2: kumo\.on: 'x' can be registered only while"):
        now(policy.init())


@pytest.mark.parametrize(
    ("handlers", "interval"),
    [
        (["return kumo.make_queue_config { retry_interval = '1s' }", "error 'not reached'"], 1.0),
        (["", "return kumo.make_queue_config { retry_interval = '2s' }"], 2.0),
        (["return", "return { retry_interval = 3 }"], 3.0),
        (["", ""], 1200.0),
    ],
)
def test_a_chain_ends_with_the_first_value(bench: Bench, handlers: list[str], interval: float) -> None:
    """No value lets the next handler decide; none at all means defaults."""
    source = "\n".join(f"kumo.on('get_queue_config', function() {body} end)" for body in handlers)
    config = now(bench.policy(source).queue_config(parse("t@example.com")))
    assert config.retry_interval == interval


def test_an_explicit_nil_ends_the_chain(bench: Bench) -> None:
    """`return nil` is a value: an error for get_queue_config, and the end for requeue_message."""
    policy = bench.policy(
        "kumo.on('get_queue_config', function() return nil end)\n"
        "kumo.on('get_queue_config', function() return {} end)\n"
        "kumo.on('requeue_message', function() return nil end)\n"
        "kumo.on('requeue_message', function() error 'not reached' end)"
    )
    with pytest.raises(
        PolicyError, match=r"policy\.lua:1: get_queue_config returned nil; return kumo.make_queue_config"
    ):
        now(policy.queue_config(parse("example.com")))
    now(policy.requeue_message(bench.message(), "400 x", [], True, 1.0))


# -- queue ----------------------------------------------------------------------------------------


def test_without_handlers_the_defaults_hold(bench: Bench) -> None:
    """An empty policy relays by MX through the unspecified source."""
    policy = bench.policy("")
    assert now(policy.queue_config(parse("example.com"))) == QueueConfig()
    assert now(policy.egress_pool("unspecified")).entries == (PoolEntry(name="unspecified"),)
    assert now(policy.egress_source("unspecified")).source_address is None
    assert now(policy.egress_path("example.com", "unspecified", "site")) == PathConfig()
    with pytest.raises(PolicyError, match="no handler for the event 'get_egress_pool'"):
        now(policy.egress_pool("pool"))


def test_queue_events_get_the_parts_of_the_name(bench: Bench) -> None:
    """get_queue_config is called with domain, tenant, campaign and routing domain, nil when absent."""
    policy = bench.policy(
        "kumo.on('get_queue_config', function(domain, tenant, campaign, routing)\n"
        "  local parts = table.concat({ domain, tostring(tenant), tostring(campaign), tostring(routing) }, '|')\n"
        "  return kumo.make_queue_config { protocol = { custom_lua = { constructor = parts } }, egress_pool = 'p' }\n"
        "end)\n"
        "kumo.on('get_egress_pool', function(name) return kumo.make_egress_pool { name = name,\n"
        "  entries = { { name = 's1', weight = 5 }, { name = 's2' } } } end)\n"
        "kumo.on('get_egress_source', function(name) return { name = name, source_address = '127.0.0.2' } end)\n"
        "kumo.on('get_egress_path_config', function(domain, source, site)\n"
        "  return kumo.make_egress_path { ehlo_domain = domain .. source .. site, connection_limit = 3 } end)"
    )
    config = now(policy.queue_config(parse("c:t@d.example!r.example")))
    assert config.protocol == CustomLuaProtocol(constructor="d.example|t|c|r.example")
    assert now(policy.queue_config(parse("d.example"))).protocol == CustomLuaProtocol(
        constructor="d.example|nil|nil|nil"
    )
    assert [entry.weight for entry in now(policy.egress_pool("p")).entries] == [5, 1]
    assert now(policy.egress_source("s1")).source_address == "127.0.0.2"
    assert now(policy.egress_path("d", "s", "x")).ehlo_domain == "dsx"


def test_requeue_message_sees_why_and_may_bounce(bench: Bench) -> None:
    """It gets the response, the reasons, whether it counts and the delay; kumo.reject bounces."""
    policy = bench.policy(
        "kumo.on('requeue_message', function(msg, response, context, increment, delay)\n"
        "  msg:set_meta('seen', response .. table.concat(context, ',') .. tostring(increment)\n"
        "    .. (delay and delay.seconds or 'none'))\n"
        "  if msg:num_attempts() > 1 then kumo.reject(551, 'gave up') end\n"
        "end)"
    )
    message = bench.message()
    now(policy.requeue_message(message, "451 later", ["A", "B"], True, 60.0))
    assert message.meta["seen"] == "451 laterA,Btrue60.0"
    now(policy.requeue_message(message, "451 later", [], False, None))
    assert message.meta["seen"] == "451 laterfalsenone"
    message.attempts = 2
    with pytest.raises(Rejection, match="551 gave up"):
        now(policy.requeue_message(message, "451 later", [], False, None))


def test_rewriting_a_delivery_status_never_fails(bench: Bench) -> None:
    """Errors and nonsense keep the original code."""
    policy = bench.policy(
        "kumo.on('smtp_client_rewrite_delivery_status', function(response, domain, tenant, campaign, routing)\n"
        "  if response:find 'full' then return 500 end\n"
        "  if response:find 'odd' then return 'x' end\n"
        "  if response:find 'bad' then error 'bad' end\n"
        "end)"
    )
    name = parse("example.com")
    answers = [now(policy.rewrite_delivery_status(f"400 {text}", name)) for text in ("full", "fine", "odd", "bad")]
    assert answers == [500, None, None, None]


# -- SMTP and HTTP --------------------------------------------------------------------------------


def test_smtp_events(bench: Bench) -> None:
    """Each event gets its arguments and its answer is understood."""
    policy = bench.policy(
        "kumo.on('smtp_server_get_dynamic_parameters', function(listener) return { banner = listener } end)\n"
        "kumo.on('smtp_server_ehlo', function(domain, conn, ext)\n"
        "  if ext then table.insert(ext, domain) return ext end end)\n"
        "kumo.on('smtp_server_mail_from', function(a)\n"
        "  if a.domain == 'bad.example' then kumo.reject(550, 'no') end end)\n"
        "kumo.on('smtp_server_rcpt_to', function(a, conn) conn:set_meta('rcpt', tostring(a)) end)\n"
        "kumo.on('get_listener_domain', function(domain) if domain == 'ours' then\n"
        "  return kumo.make_listener_domain { relay_to = true } end end)\n"
        "kumo.on('smtp_server_split_transaction', function(msg)\n"
        "  return { { msg:recipient() }, { 'x@y.example' } } end)\n"
        "kumo.on('smtp_server_rewrite_response', function(code, text, command)\n"
        "  if code == 250 then return 251, text .. tostring(command) elseif code == 500 then error 'x' end end)"
    )
    assert now(policy.smtp_server_get_dynamic_parameters("l", CONN)) == {"banner": "l"}
    assert now(policy.smtp_server_ehlo("d", CONN, ["A"])) == ["A", "d"]
    assert now(policy.smtp_server_ehlo("d", CONN, None)) is None
    now(policy.smtp_server_mail_from(parse_address("a@good.example"), CONN))
    with pytest.raises(Rejection):
        now(policy.smtp_server_mail_from(parse_address("a@bad.example"), CONN))
    now(policy.smtp_server_rcpt_to(parse_address("r@example.com"), CONN))
    assert CONN.meta["rcpt"] == "r@example.com"
    domain = now(policy.get_listener_domain("ours", "l", CONN))
    assert domain is not None
    assert domain.relay_to
    assert now(policy.get_listener_domain("theirs", "l", CONN)) is None
    batches = now(policy.smtp_server_split_transaction(bench.message(), CONN))
    assert [[str(one) for one in batch] for batch in batches or ()] == [["bob@example.org"], ["x@y.example"]]
    assert now(policy.smtp_server_rewrite_response(250, "ok", None, CONN)) == (251, "oknil")
    assert now(policy.smtp_server_rewrite_response(220, "ok", "X", CONN)) == (None, None)
    assert now(policy.smtp_server_rewrite_response(500, "ok", "X", CONN)) == (None, None)
    assert policy.handles("smtp_server_ehlo")
    assert not policy.handles("smtp_server_data")


def test_authentication(bench: Bench) -> None:
    """A boolean or an AuthInfo table; no handler means no."""
    policy = bench.policy(
        "kumo.on('smtp_server_auth_plain', function(authz, authc, pass)\n"
        "  if pass == 'info' then\n"
        "    return { identities = { { identity = authc, context = 'X' } }, groups = { 'g' } } end\n"
        "  if pass == 'odd' then return { unknown = 1 } end\n"
        "  return pass == 'right' end)"
    )
    assert now(policy.smtp_server_auth_plain("", "u", "right", CONN)) is True
    assert now(policy.smtp_server_auth_plain("", "u", "wrong", CONN)) is False
    info = AuthInfo(None, (Identity("u", "X"),), ("g",))
    assert now(policy.smtp_server_auth_plain("", "u", "info", CONN)) == info
    with pytest.raises(PolicyError, match="unknown entry 'unknown'"):
        now(policy.smtp_server_auth_plain("", "u", "odd", CONN))
    assert now(policy.http_server_validate_auth_basic("u", None)) is False


def test_http_and_record_events(bench: Bench) -> None:
    """The generated message comes with who sent it; filters answer yes or no."""
    policy = bench.policy(
        "kumo.on('http_message_generated', function(msg, auth) msg:set_meta('by', auth.identities[1].identity) end)\n"
        "kumo.on('should_enqueue_log_record', function(msg, hook) return hook == 'a' end)\n"
        "kumo.on('my_filter', function(msg) return msg:get_meta 'by' == 'ann' end)"
    )
    message = bench.message()
    now(policy.http_message_generated(message, AuthInfo("10.0.0.1", (Identity("ann", "HttpBasicAuth"),))))
    assert message.meta["by"] == "ann"
    assert now(policy.should_enqueue_log_record(message, "a")) is True
    assert now(policy.should_enqueue_log_record(message, "b")) is False
    assert now(policy.filter_record("my_filter", message)) is True
    with pytest.raises(PolicyError):
        now(policy.filter_record("no_such_filter", message))


def test_key_events(bench: Bench) -> None:
    """A key source's event returns a string of any bytes."""
    policy = bench.policy("kumo.on('key', function(a) return a == 1 and '\\255' or nil end)")
    assert now(policy.run_key_event("key", [1])) == b"\xff"
    with pytest.raises(PolicyError, match="must return a string"):
        now(policy.run_key_event("key", [2]))


# -- custom_lua -----------------------------------------------------------------------------------

CONSTRUCTOR = """
kumo.on('make', function(domain, tenant, campaign)
  local connection = { count = 0 }
  function connection:send(msg)
    self.count = self.count + 1
    if self.count == 2 then kumo.reject(451, 'later') end
    if self.count == 3 then return nil end
    if self.count == 4 then return 200 end
    return string.format('%s %s %s', domain, tenant, msg:recipient().email)
  end
  function connection:send_batch(list) return #list .. ' sent' end
  function connection:close() CLOSED = true end
  return connection
end)
kumo.on('closed', function() return CLOSED end)
kumo.on('bare', function() return {} end)
kumo.on('wrong', function() return 5 end)
"""


def test_custom_lua_connections(bench: Bench) -> None:
    """The constructor's object is kept; its results are dispositions, rejections or errors."""
    policy = bench.policy(CONSTRUCTOR)
    connection = now(policy.connect("make", parse("t@example.com")))
    message = bench.message()
    assert now(connection.send([message], batched=False)) == "example.com t bob@example.org"
    with pytest.raises(Rejection, match="451 later"):
        now(connection.send([message], batched=False))
    with pytest.raises(PolicyError, match="must return a disposition string, it returned nothing"):
        now(connection.send([message], batched=False))
    assert now(connection.send([message], batched=False)) == "200"
    assert now(connection.send([message, message], batched=True)) == "2 sent"
    now(connection.close())
    assert now(policy.run_event("closed")) is True


def test_custom_lua_mistakes(bench: Bench) -> None:
    """A missing method, a missing handler and a constructor that returns no table are errors that say so."""
    policy = bench.policy(CONSTRUCTOR)
    bare = now(policy.connect("bare", parse("example.com")))
    with pytest.raises(PolicyError, match="no method 'send'"):
        now(bare.send([bench.message()], batched=False))
    now(bare.close())
    with pytest.raises(PolicyError, match="must return a table, it returned number"):
        now(policy.connect("wrong", parse("example.com")))
    with pytest.raises(PolicyError, match="no handler for the event 'absent'"):
        now(policy.connect("absent", parse("example.com")))


# -- start ----------------------------------------------------------------------------------------


def test_init_declares(bench: Bench) -> None:
    """Spools, listeners, logs, hooks and tasks are collected; after init it is too late."""
    policy = bench.policy(
        "kumo.on('pre_init', function() kumo.configure_log_hook { name = 'h' } end)\n"
        "kumo.on('pre_init', function() kumo.set_config_monitor_globs { '/x/*.lua' } end)\n"
        "kumo.on('init', function()\n"
        "  kumo.define_spool { name = 'data', path = '/d' }\n"
        "  kumo.start_esmtp_listener { listen = '127.0.0.1:0' }\n"
        "  kumo.start_http_listener { listen = '127.0.0.1:0' }\n"
        "  kumo.configure_local_logs { log_dir = '/l', max_segment_duration = '10s' }\n"
        "  kumo.configure_accounting_db_path '/a'\n"
        "  kumo.set_smtpsrv_threads(4)\n"
        "  kumo.spawn_task { event_name = 'task', args = { 'x', 2 } }\n"
        "end)\n"
        "kumo.on('task', function(args) DONE = args[1] .. args[2] end)\n"
        "kumo.on('late', function() kumo.start_esmtp_listener {} end)\n"
        "kumo.on('done', function() return DONE end)"
    )
    now(policy.pre_init())
    now(policy.init())
    declared = policy.declarations
    assert [hook.name for hook in declared.log_hooks] == ["h"]
    assert declared.config_monitor_globs == ("/x/*.lua",)
    assert list(declared.spools) == ["data"]
    assert [one.listen for one in (*declared.esmtp_listeners, *declared.http_listeners)] == ["127.0.0.1:0"] * 2
    assert declared.local_logs[0].max_segment_duration == 10.0
    policy.start_task(declared.tasks[0])
    assert now(policy.run_event("done")) == "x2"
    with pytest.raises(PolicyError, match="can be called only while the daemon starts"):
        now(policy.run_event("late"))


def test_the_environment_of_a_policy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """os.getenv, modules beside the policy, the standard library, _G: as a policy expects."""
    monkeypatch.setenv("KUMO_TEST", "from env")
    (bench.directory / "beside.lua").write_text("local kumo = require 'kumo' return { kumo = kumo, name = ... }")
    (bench.directory / "extra").mkdir(parents=True)
    (bench.directory / "extra" / "init.lua").write_text("return 'extra'")
    policy = bench.policy(
        "local beside = require 'beside'\n"
        "assert(beside.kumo == kumo and beside.name == 'beside' and require 'beside' == beside)\n"
        "assert(require 'extra' == 'extra' and package.path:find('/opt/kumomta/etc/policy/?.lua', 1, true) == 1)\n"
        "assert(not pcall(require, 'nowhere'))\n"
        "GLOBAL = 1 assert(_G.GLOBAL == 1 and _VERSION == 'Lua 5.4' and _ENV == _G)\n"
        "assert(load('return GLOBAL')() == 1 and load('return x', 'n', 't', { x = 2 })() == 2)\n"
        "assert(select('#', table.unpack { 1, 2 }) == 2 and utf8.char(228) == 'ä' and math.type(1) == 'integer')\n"
        "assert(type(io.open) == 'function' and os.time() > 0 and not _VALIDATING_CONFIG)\n"
        "kumo.on('env', function() return os.getenv 'KUMO_TEST' .. kumo.version:sub(1, 9) end)"
    )
    assert now(policy.run_event("env")) == "from envkumotwist"


@pytest.mark.skipif(
    not any(Path(f"/usr/lib/{arch}/lua/5.4/cjson.so").exists() for arch in ("x86_64-linux-gnu", "aarch64-linux-gnu")),
    reason="lua-cjson is not installed",
)
def test_c_modules_load(bench: Bench) -> None:
    """Debian's lua-cjson, a Lua module in C, can be required."""
    policy = bench.policy("local cjson = require 'cjson' kumo.on('c', function() return cjson.encode { 1, 2 } end)")
    assert now(policy.run_event("c")) == "[1,2]"


def test_syntax_errors_have_file_and_line(bench: Bench) -> None:
    """A policy that cannot be read says where."""
    with pytest.raises(PolicyError, match=r"policy\.lua:2: .*near"):
        bench.policy("\nlocal = 5")
    with pytest.raises(PolicyError, match=r"cannot read the policy .*missing\.lua: No such file"):
        now(Policy.load(bench.directory / "missing.lua", bench.services))


def test_options_objects_can_be_read(bench: Bench) -> None:
    """What kumo.make_* returns can be indexed, iterated and passed on; a secret is not in it."""
    source = """
      kumo.on('go', function()
        local c = kumo.make_queue_config { max_age = '5m', max_message_rate = '10/s',
          protocol = { smtp = { mx_list = { 'a' } } } }
        local names = {}
        for name, value in pairs(c) do names[name] = value end
        local p = kumo.make_egress_path { smtp_auth_plain_password = { key_data = 'secret' } }
        for _, value in pairs(p) do assert(tostring(value):find('secret', 1, true) == nil) end
        assert(kumo.make_queue_config(c).max_age == c.max_age and #c > 3 and names.max_age == '5m')
        return table.concat({ c.max_age, c.max_message_rate, c.protocol.smtp.mx_list[1], tostring(c.nope) }, ' ')
      end)
    """
    assert now(bench.policy(source).run_event("go")) == "5m 10/s a nil"


# -- reload ---------------------------------------------------------------------------------------


def _advance(bench: Bench) -> None:
    bench.clock.advance(WATCH_INTERVAL)
    bench.clock.advance(SETTLED_AFTER)


def test_an_edit_takes_effect(bench: Bench) -> None:
    """The new code runs within seconds; what began before goes on with the old; init is not run again."""
    source = "kumo.on('init', function() INIT = true end)\nkumo.on('v', function() kumo.wait 'a' return 1 end)"
    policy = bench.policy(source)
    now(policy.init())
    policy.watch()
    old = Deferred.fromCoroutine(policy.run_event("v"))
    bench.write("kumo.on('init', function() INIT = true end)\nkumo.on('v', function() return INIT and 1 or 2 end)")
    _advance(bench)
    assert policy.epoch == 1
    assert now(policy.run_event("v")) == 2
    bench.waits.end("a")
    assert old.called
    now(bench.tasks.close())


def test_a_policy_that_is_being_written_is_not_read(bench: Bench) -> None:
    """A copy over the file takes a moment; its first half may be a policy of its own, without the handlers."""
    policy = bench.policy("kumo.on('v', function() return 1 end)")
    policy.watch()
    bench.write("")
    bench.clock.advance(WATCH_INTERVAL)
    bench.write("-- half")
    bench.clock.advance(SETTLED_AFTER)
    bench.write("kumo.on('v', function() return 2 end)")
    bench.clock.advance(SETTLED_AFTER)
    assert (now(policy.run_event("v")), policy.epoch) == (1, 0)
    bench.clock.advance(SETTLED_AFTER)
    assert (now(policy.run_event("v")), policy.epoch) == (2, 1)
    now(bench.tasks.close())


def test_a_broken_edit_keeps_the_old_policy(bench: Bench) -> None:
    """The log says why, a metric counts it, and a good edit mends it."""
    policy = bench.policy("kumo.on('v', function() return 1 end)")
    policy.watch()
    bench.write("kumo.on('v', function() return end end)")
    _advance(bench)
    assert (now(policy.run_event("v")), policy.epoch) == (1, 0)
    assert _sample(policy, "lua_load_failures") == 1
    bench.write("kumo.on('v', function() return 3 end)")
    _advance(bench)
    assert (now(policy.run_event("v")), policy.epoch) == (3, 1)
    now(bench.tasks.close())


def test_contents_count_not_times(bench: Bench) -> None:
    """Touching the file, or writing the same again, reads nothing anew; a file beside it does."""
    policy = bench.policy("kumo.on('v', function() end)")
    policy.watch()
    os.utime(bench.path, (1, 1))
    _advance(bench)
    assert policy.epoch == 0
    (bench.directory / "data.json").write_text("{}")
    _advance(bench)
    assert policy.epoch == 1
    now(bench.tasks.close())


def test_a_connection_outlives_a_reload(bench: Bench) -> None:
    """A custom_lua connection keeps the code that made it."""
    policy = bench.policy(CONSTRUCTOR)
    connection = now(policy.connect("make", parse("t@example.com")))
    bench.write("")
    now(policy.reload())
    assert not policy.handles("make")
    assert now(connection.send([bench.message()], batched=False)) == "example.com t bob@example.org"


def test_top_level_declarations_are_ignored_in_a_reload(bench: Bench) -> None:
    """A policy that declares at top level can be read again."""
    policy = bench.policy("kumo.define_spool { name = 'data', path = '/d' }")
    now(policy.init())
    now(policy.reload())
    assert policy.epoch == 1
    assert list(policy.declarations.spools) == ["data"]


def test_numbers(bench: Bench) -> None:
    """Metrics count what ran."""
    policy = bench.policy("kumo.on('v', function() end)")
    now(policy.run_event("v"))
    now(policy.run_event("v"))
    assert _sample(policy, "lua_event_started") == 2
    latency = _sample(policy, "lua_event_latency")
    assert isinstance(latency, Histogram)
    assert sum(latency.counts) == 2
    assert _sample(policy, "lua_load_count") == 1


def _sample(policy: object, name: str) -> object:
    return next(one.value for one in policy.samples() if one.name == name)  # type: ignore[attr-defined]

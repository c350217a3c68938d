"""Every name of KumoMTA's that a policy of tier 1 may use: it exists, is taken, and has the documented default.

The lists stand here in full, by area, so that a name that goes is missed. What
the functions do is tested beside each library; events in test_tier1_events.py.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred
from support.lua import Bench
from support.webpeer import turn, web_peer
from twisted.internet import reactor

from kumotwist.config.catalog import CATALOG
from kumotwist.config.keysource import EventKey, FileKey, LiteralKey, VaultKey
from kumotwist.config.listener import TraceHeaders
from kumotwist.config.option import Cidrs
from kumotwist.config.queue import CustomLuaProtocol, SmtpProtocol
from kumotwist.config.records import RecordOptions
from kumotwist.config.structure import key_source, structure
from kumotwist.core.connection import ConnectionMeta
from kumotwist.core.ids import IdGenerator
from kumotwist.core.units import Limit, Throttle
from kumotwist.lua.events import EVENTS, MULTIPLE
from kumotwist.lua.lib.catalog import Services, standard_libraries
from kumotwist.lua.policy import Policy
from kumotwist.net.dns import StaticResolver
from kumotwist.net.dnsswitch import ConfigurableResolver
from kumotwist.queue.throttle import LocalLimits
from kumotwist.records.catalogue import CATALOGUE
from kumotwist.secrets.store import KeyStore
from kumotwist.service.options import Options

FUNCTIONS = {
    "kumo": """
        apply_supplemental_trace_header available_parallelism bump_config_epoch configure_accounting_db_path
        configure_local_logs configure_log_hook configure_redis_throttles define_spool disconnect glob inject_message
        json_encode json_encode_pretty json_load json_parse log_debug log_error log_info log_warn make_egress_path
        make_egress_pool make_egress_source make_listener_domain make_message make_queue_config make_throttle
        memoize on read_dir reject set_config_monitor_globs set_diagnostic_log_filter sleep spawn_task
        start_esmtp_listener start_http_listener toml_encode toml_load toml_parse""",
    "kumo.aaa": "configure_acct_log load_acl_map make_access_control_list",
    "kumo.cidr": "make_map",
    "kumo.digest": "hmac_sha256 sha1 sha256",
    "kumo.dns": "configure_resolver lookup_addr lookup_mx lookup_txt",
    "kumo.domain_map": "new",
    "kumo.encode": "base64_decode base64_encode hex_decode hex_encode",
    "kumo.fs": "glob open read_dir",
    "kumo.http": "build_client build_url",
    "kumo.regex": "compile escape",
    "kumo.regex_set_map": "new",
    "kumo.secrets": "load",
    "kumo.serde": """
        json_encode json_encode_pretty json_load json_parse toml_encode toml_load toml_parse yaml_encode yaml_load
        yaml_parse""",
    "kumo.string": "ends_with replace split starts_with trim",
    "kumo.time": "now parse_duration parse_rfc3339 sleep",
    "kumo.uuid": "new_v1 new_v4 new_v6 new_v7 parse",
}

#: By the expression that makes the object.
METHODS = {
    "conn_meta": "auth_info get_meta set_meta",
    "kumo.make_throttle('x', '1/s')": "delay_message_if_throttled sleep_if_throttled throttle",
    "kumo.aaa.load_acl_map { key_data = '' }": "get",
    "kumo.http.build_client {}": "close get post put",
    "kumo.http.build_client {}:get(url)": """
        basic_auth bearer_auth body form_multipart_data form_url_encoded header headers send timeout""",
    "kumo.http.build_client {}:get(url):send()": """
        bytes content_length headers status_code status_is_client_error status_is_informational
        status_is_redirection status_is_server_error status_is_success status_reason text""",
    "message": """
        append_header check_fix_conformance from_header get_address_header get_all_headers get_all_named_header_values
        get_data get_first_named_header_value get_meta id import_headers import_scheduling_header import_x_headers
        num_attempts prepend_header queue_name recipient recipient_list remove_all_named_headers remove_x_headers
        save sender set_data set_due set_meta set_recipient set_scheduling set_sender to_header""",
    "require('sqlite').open ':memory:'": "close execute",
    "kumo.regex.compile 'a'": "captures find find_all is_match replace replace_all replacen split",
}

#: Expressions, and what they are.
FIELDS = {
    "message:sender().user": "ann",
    "message:sender().domain": "example.com",
    "message:sender().email": "ann@example.com",
    "tostring(message:sender())": "ann@example.com",
    "message:from_header().user": "ann",
    "message:from_header().domain": "example.com",
    "message:from_header().email": "ann@example.com",
    "message:from_header().name": "Ann",
    "message:from_header().list[1].email": "ann@example.com",
    "kumo.cidr.make_map { ['10.0.0.0/8'] = 'in' }['10.1.2.3']": "in",
    "kumo.domain_map.new { ['*.example.com'] = 'sub' }['a.example.com']": "sub",
    "kumo.regex_set_map.new { ['^a+$'] = 'as' }['aaa']": "as",
    "math.type(kumo.available_parallelism())": "integer",
    "type(kumo.version)": "string",
    "_VERSION": "Lua 5.4",
}

_HOUR = 3600.0
_WEEK = 7 * 24 * _HOUR
_LOOPBACK = Cidrs.parse("127.0.0.1", "::1")
REQUIRED = attrs.NOTHING

#: By function, then by option: the default and an example of its use.
OPTIONS: Mapping[str, Mapping[str, tuple[object, str]]] = {
    "kumo.aaa.configure_acct_log": {
        "back_pressure": (128000, "1"),
        "log_authn_fail": (True, "false"),
        "log_authn_ok": (True, "false"),
        "log_authz_allow": (True, "false"),
        "log_authz_deny": (True, "false"),
        "log_dir": (REQUIRED, "'/tmp/log'"),
        "max_file_size": (1000000000, "1"),
        "max_segment_duration": (None, "'1 minute'"),
    },
    "kumo.configure_local_logs": {
        "back_pressure": (128000, "1"),
        "filter_event": (None, "'an.event'"),
        "headers": ((), "{ 'Subject', 'X-*' }"),
        "log_dir": (REQUIRED, "'/tmp/log'"),
        "max_file_size": (1000000000, "1"),
        "max_segment_duration": (None, "'1 minute'"),
        "meta": ((), "{ 'tenant' }"),
        "per_record": ({}, "{ Any = { enable = false }, Bounce = { log_dir = '/b', suffix = '_b', template = '{}' } }"),
    },
    "kumo.configure_redis_throttles": {
        "cluster": (False, "false"),
        "connect_timeout": (30.0, "'10 seconds'"),
        "node": (REQUIRED, "'redis://127.0.0.1/'"),
        "password": (None, "'x'"),
        "pool_size": (10, "1"),
        "read_from_replicas": (False, "true"),
        "recycle_timeout": (None, "'1s'"),
        "response_timeout": (5.0, "'1s'"),
        "username": (None, "'x'"),
        "wait_timeout": (30.0, "'1s'"),
    },
    "kumo.configure_log_hook": {
        "back_pressure": (128000, "1"),
        "deferred_spool": (False, "true"),
        "headers": ((), "{ 'Subject' }"),
        "meta": ((), "{ 'tenant' }"),
        "name": (REQUIRED, "'hook'"),
        "per_record": ({}, "{ Rejection = { enable = false } }"),
    },
    "kumo.define_spool": {
        "flush": (False, "true"),
        "kind": ("LocalDisk", "'RocksDB'"),
        "name": (REQUIRED, "'data'"),
        "path": (REQUIRED, "'/tmp/spool'"),
    },
    "kumo.make_egress_path": {
        "allow_smtp_auth_plain_without_tls": (False, "true"),
        "auth_timeout": (60.0, "'1s'"),
        "banner_timeout": (60.0, "'1s'"),
        "connect_timeout": (60.0, "'1s'"),
        "connection_limit": (Limit(32), "'1,000'"),
        "consecutive_connection_failures_before_delay": (100, "1"),
        "data_dot_timeout": (300.0, "'1s'"),
        "data_timeout": (300.0, "1.5"),
        "ehlo_domain": (None, "'mx.example.com'"),
        "ehlo_timeout": (300.0, "'1s'"),
        "enable_pipelining": (True, "false"),
        "enable_rset": (True, "false"),
        "enable_tls": ("Opportunistic", "'RequiredInsecure'"),
        "idle_timeout": (5.0, "'60s'"),
        "mail_from_timeout": (300.0, "'1s'"),
        "max_connection_rate": (None, "'10/s'"),
        "max_deliveries_per_connection": (1024, "1"),
        "max_message_rate": (None, "'local:1,000/h,max_burst=1'"),
        "max_ready": (1024, "1"),
        "opportunistic_tls_reconnect_on_failed_handshake": (False, "true"),
        "rcpt_to_timeout": (300.0, "'1s'"),
        "rset_timeout": (5.0, "'1s'"),
        "smtp_auth_plain_password": (None, "{ key_data = 'x' }"),
        "smtp_auth_plain_username": (None, "'user'"),
        "smtp_port": (25, "2525"),
        "starttls_timeout": (5.0, "'1s'"),
        "system_shutdown_timeout": (None, "'30 seconds'"),
    },
    "kumo.make_egress_pool": {
        "entries": ((), "{ { name = 'a', weight = 2 }, { name = 'b' } }"),
        "name": (REQUIRED, "'pool'"),
        "ttl": (60.0, "'5 minutes'"),
    },
    "kumo.make_egress_source": {
        "ehlo_domain": (None, "'mx.example.com'"),
        "name": (REQUIRED, "'source'"),
        "remote_port": (None, "2525"),
        "socks5_proxy_password": (None, "{ key_data = 'x' }"),
        "socks5_proxy_server": (None, "'10.0.0.1:5000'"),
        "socks5_proxy_source_address": (None, "'10.0.0.1'"),
        "socks5_proxy_username": (None, "'x'"),
        "source_address": (None, "'10.0.0.1'"),
        "ttl": (60.0, "'5 minutes'"),
    },
    "kumo.make_listener_domain": {
        "log_arf": ("Ignore", "true"),
        "log_oob": ("Ignore", "'LogThenDrop'"),
        "relay_from": (Cidrs(), "{ '10.0.0.0/24' }"),
        "relay_to": (False, "true"),
        "ttl": (60.0, "'1 minute'"),
    },
    "kumo.make_queue_config": {
        "egress_pool": (None, "'pool'"),
        "max_age": (_WEEK, "'1 day'"),
        "max_message_rate": (None, "'1/s'"),
        "max_retry_interval": (None, "'1 hour'"),
        "protocol": (SmtpProtocol(), "{ custom_lua = { constructor = 'make.it' } }"),
        "retry_interval": (_HOUR / 3, "'5 minutes'"),
    },
    "kumo.memoize": {
        "allow_stale_reads": (False, "true"),
        "capacity": (REQUIRED, "10"),
        "invalidate_with_epoch": (False, "true"),
        "name": (REQUIRED, "'cache'"),
        "populate_timeout": (120.0, "'1s'"),
        "retry_on_populate_timeout": (False, "true"),
        "ttl": (REQUIRED, "'5 minutes'"),
    },
    "kumo.start_esmtp_listener": {
        "banner": ("KumoMTA", "'Welcome'"),
        "client_timeout": (60.0, "'1 minute'"),
        "data_buffer_size": (131072, "1"),
        "data_processing_timeout": (300.0, "'1s'"),
        "deferred_spool": (False, "true"),
        "hostname": (None, "'mx.example.com'"),
        "invalid_line_endings": ("Deny", "'Fix'"),
        "line_length_hard_limit": (998, "1"),
        "listen": ("127.0.0.1:2025", "'0.0.0.0:25'"),
        "max_connections": (32768, "1"),
        "max_message_size": (20971520, "1"),
        "max_messages_per_connection": (10000, "1"),
        "max_recipients_per_message": (1024, "1"),
        "meta": ({}, "{ site = 'x' }"),
        "peer": ({}, "{ ['10.0.0.0/24'] = { banner = 'hi' } }"),
        "relay_hosts": (_LOOPBACK, "{ '10.0.0.0/24', '::1' }"),
        "trace_headers": (
            TraceHeaders(),
            "{ received_header = false, supplemental_header = false, header_name = 'X', include_meta_names = { 'm' } }",
        ),
        "via": ({}, "{ ['10.0.0.1'] = { hostname = 'b' } }"),
    },
    "kumo.start_http_listener": {
        "hostname": (None, "'mx.example.com'"),
        "listen": ("127.0.0.1:8000", "'0.0.0.0:8000'"),
        "trusted_hosts": (_LOOPBACK, "{ '10.0.0.0/24' }"),
        "use_tls": (False, "true"),
    },
    "kumo.http.build_client": {
        "accept_invalid_certs": (False, "true"),
        "connection_verbose": (False, "true"),
        "pool_idle_timeout": (90.0, "'1s'"),
        "timeout": (60.0, "'1s'"),
        "user_agent": (None, "'agent/1'"),
    },
}

NESTED = {
    CustomLuaProtocol(constructor="x"): {"batch_size": 1, "max_batch_latency": 0.0, "min_batch_size": 1},
    SmtpProtocol(): {"mx_list": ()},
    TraceHeaders(): {
        "header_name": "X-KumoRef",
        "include_meta_names": (),
        "received_header": True,
        "supplemental_header": True,
    },
    RecordOptions(): {"enable": True, "log_dir": None, "suffix": None, "template": None},
    structure(CATALOG["kumo.make_egress_pool"], {"name": "p", "entries": [{"name": "s"}]}).entries[0]: {"weight": 1},
}

BUILT_IN_EVENTS = """
    get_acl_definition get_egress_path_config get_egress_pool get_egress_source get_listener_domain get_queue_config
    http_message_generated http_server_validate_auth_basic init pre_init requeue_message should_enqueue_log_record
    shutdown_logging smtp_server_auth_plain smtp_server_connection_accepted smtp_server_data smtp_server_ehlo
    smtp_server_mail_from smtp_server_message_received smtp_server_rcpt_to spool_message_enumerated
    throttle_insert_ready_queue"""
CHAINED_EVENTS = """
    pre_init validate_config get_queue_config should_enqueue_log_record requeue_message throttle_insert_ready_queue
    get_acl_definition"""

KEY_SOURCES = {
    "string path": ("/etc/key", FileKey("/etc/key")),
    "key_data": ({"key_data": "k"}, LiteralKey(b"k")),
    "event": ({"event_name": "get.key", "event_args": ["a", 1]}, EventKey("get.key", ("a", 1))),
    "vault": (
        {"vault_mount": "m", "vault_path": "p", "vault_address": "http://v", "vault_token": "t", "vault_key": "f"},
        VaultKey(vault_mount="m", vault_path="p", vault_address="http://v", vault_token="t", vault_key="f"),
    ),
    "vault, the least": (
        {"vault_mount": "m", "vault_path": "p"},
        VaultKey(vault_mount="m", vault_path="p", vault_key="key"),
    ),
}

METRICS = {
    "counter": """
        delayed_due_to_message_rate_throttle delayed_due_to_ready_queue_full delayed_due_to_throttle_insert_ready
        log_hook_backlog_count log_submit_full lua_event_started lua_load_count ready_full smtp_server_rejections
        total_connection_count total_connections_denied total_messages_delivered
        total_messages_delivered_by_provider total_messages_delivered_by_provider_and_source total_messages_fail
        total_messages_fail_by_provider total_messages_fail_by_provider_and_source total_messages_received
        total_messages_transfail total_messages_transfail_by_provider
        total_messages_transfail_by_provider_and_source""",
    "gauge": """
        connection_count connection_count_by_provider connection_count_by_provider_and_pool lua_count
        lua_spare_count memory_limit memory_usage memory_usage_rust message_count process_cpu_usage_sum ready_count
        scheduled_by_domain scheduled_by_tenant scheduled_by_tenant_campaign scheduled_count scheduled_count_total
        scheduled_queue_count""",
    "histogram": "deliver_message_latency_rollup log_submit_latency lua_event_latency message_save_latency",
}


@asynccontextmanager
async def policy(directory: Path, source: str) -> AsyncIterator[Policy]:
    """A policy with all libraries, as a worker has them."""
    bench = Bench(directory, clock=reactor)
    keys = KeyStore(reactor, bench.tasks, os.environ, lambda name, arguments: running.run_key_event(name, arguments))
    services = Services(
        reactor=reactor,
        tasks=bench.tasks,
        keys=keys,
        limits=LocalLimits(reactor),
        resolver=ConfigurableResolver(StaticResolver({})),
        ids=IdGenerator(reactor.seconds),
        epoch=lambda: 0,
        declare_acct_log=lambda _: None,
    )
    bench.libraries = standard_libraries(services)
    bench.write(source)
    running = await Policy.load(bench.path, bench.services)
    try:
        yield running
    finally:
        await bench.tasks.close()
        await keys.close()
        await services.close()
        await turn()


MESSAGE = """
local body = 'From: Ann <ann@example.com>\\r\\n\\r\\nHi\\r\\n'
local message = kumo.make_message('ann@example.com', 'bob@example.org', body)
"""


@ensureDeferred
async def test_functions_exist(tmp_path: Path) -> None:
    """Each function is there, under its name."""
    names = [f"{area}.{name}" for area, text in FUNCTIONS.items() for name in text.split()]
    assert len(names) == 88
    checks = ", ".join(f"['{name}'] = type({name})" for name in names)
    async with policy(tmp_path, f"kumo.on('check', function() return {{ {checks} }} end)") as running:
        kinds: Any = await running.run_event("check")
    assert {name: kind for name, kind in kinds.items() if kind != "function"} == {}
    assert set(kinds) == set(names)


@ensureDeferred
async def test_methods_exist(tmp_path: Path) -> None:
    """Each method is there, on an object as a policy gets it."""
    checks = [
        f"do local object = {expression}; found[ [[{expression}:{name}]] ] = type(object.{name}) end"
        for expression, text in METHODS.items()
        for name in text.split()
    ]
    source = (
        f"kumo.on('check', function(url, conn_meta) {MESSAGE} local found = {{}}; {' '.join(checks)} return found end)"
    )
    async with web_peer() as peer, policy(tmp_path, source) as running:
        peer.answer("/", 200, b"ok")
        kinds: Any = await running.run_event("check", [peer.url + "/", ConnectionMeta()])
    assert {name: kind for name, kind in kinds.items() if kind != "function"} == {}
    assert len(kinds) == sum(len(text.split()) for text in METHODS.values())


@ensureDeferred
async def test_fields_and_indexes(tmp_path: Path) -> None:
    """Addresses have their parts, maps are indexed, the version is a text."""
    values = ", ".join(FIELDS)
    source = f"kumo.on('check', function() {MESSAGE} return {{ {values} }} end)"
    async with policy(tmp_path, source) as running:
        found: Any = await running.run_event("check")
    assert dict(zip(FIELDS, found, strict=True)) == FIELDS


@pytest.mark.parametrize("function", OPTIONS)
@ensureDeferred
async def test_options_are_taken(tmp_path: Path, function: str) -> None:
    """Each option is accepted by its function, alone beside the required ones and all together."""
    options = OPTIONS[function]
    required = [f"{name} = {example}" for name, (default, example) in options.items() if default is REQUIRED]
    optional = [f"{name} = {example}" for name, (default, example) in options.items() if default is not REQUIRED]
    call = f"{function}(function() end, " if function == "kumo.memoize" else f"{function}("
    tables = [", ".join(required + chosen) for chosen in ([], optional, *([one] for one in optional))]
    for number, table in enumerate(tables):  # a policy each: there is one data spool, one hook of a name
        directory = tmp_path / str(number)
        directory.mkdir()
        async with policy(directory, f"kumo.on('init', function() {call} {{ {table} }}) end)") as running:
            await running.init()


@pytest.mark.parametrize("function", OPTIONS)
def test_option_defaults(function: str) -> None:
    """What a policy leaves out is what KumoMTA would take (its source, where its documentation differs)."""
    options = OPTIONS[function]
    required = {name for name, (default, _) in options.items() if default is REQUIRED}
    declared = attrs.fields_dict(CATALOG[function])
    assert {name for name, one in declared.items() if one.default is REQUIRED} == required
    values: dict[str, object] = {"name": "data", "ttl": 1, "capacity": 1, "log_dir": "/l", "path": "/p"}
    values["node"] = "redis://r"
    made = structure(CATALOG[function], {name: values[name] for name in required})
    defaults = {name: getattr(made, name) for name in options if name not in required}
    assert defaults == {name: default for name, (default, _) in options.items() if default is not REQUIRED}


def test_nested_option_defaults() -> None:
    """The same for tables inside tables."""
    for made, defaults in NESTED.items():
        assert {name: getattr(made, name) for name in defaults} == defaults, type(made)
    assert attrs.fields_dict(CustomLuaProtocol)["constructor"].default is REQUIRED
    assert Throttle.parse("local:1,000/h,max_burst=1").limit == 1000


@ensureDeferred
async def test_spawn_task_options(tmp_path: Path) -> None:
    """kumo.spawn_task takes event_name and args."""
    source = "kumo.on('init', function() kumo.spawn_task { event_name = 'e', args = { 1 } } end)"
    async with policy(tmp_path, source) as running:
        await running.init()
        (task,) = running.declarations.tasks
    assert (task.event_name, task.args) == ("e", (1,))


def test_events_are_known() -> None:
    """Each event is one of ours, and those that may have several handlers are KumoMTA's."""
    assert set(BUILT_IN_EVENTS.split()) - set(EVENTS) == set()
    assert set(MULTIPLE) == set(CHAINED_EVENTS.split())


@pytest.mark.parametrize("kind", KEY_SOURCES)
def test_key_sources(kind: str) -> None:
    """Each way to say where a secret comes from."""
    given, expected = KEY_SOURCES[kind]
    assert key_source(given, "here") == expected


def test_metrics_are_known() -> None:
    """Each metric is in the catalogue, with its type."""
    found = {name: metric.type for name, metric in CATALOGUE.items()}
    wanted = {name: kind for kind, text in METRICS.items() for name in text.split()}
    assert {name: found.get(name) for name in wanted} == wanted
    assert len(wanted) == 42


def test_command_line_options() -> None:
    """kumod's --policy, --user, --validate, --script with its arguments and --diag-log-dir are the daemon's."""
    options = Options()
    options.parseOptions(["--policy=/p.lua", "--user=mail", "--diag-log-dir=/log", "--script", "--", "one", "two"])
    settings = options.settings
    assert (settings.policy, settings.user, settings.diag_log_dir) == ("/p.lua", "mail", "/log")
    assert (settings.script, settings.script_args) == (True, ("one", "two"))
    options = Options()
    options.parseOptions(["--validate"])
    assert options.settings.validate_only
    assert options.settings.policy == "/opt/kumomta/etc/policy/init.lua"

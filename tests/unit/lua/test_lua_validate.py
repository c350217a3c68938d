"""`kumotwist validate`: what is wrong with a policy, with file and line, without starting anything."""

from __future__ import annotations

import re

import pytest
from support.lua import Bench, now
from twisted.internet.defer import Deferred

from kumotwist.lua.validate import Report, validate


def _validate(bench: Bench, source: str) -> Report:
    bench.write(source)
    return now(validate(bench.path, bench.services))


def test_a_good_policy(bench: Bench) -> None:
    """Nothing to say; _VALIDATING_CONFIG is set, and everything that a start would run has run."""
    source = """
      assert(_VALIDATING_CONFIG)
      kumo.on('init', function()
        kumo.define_spool { name = 'data', path = '/nowhere' }
        kumo.start_esmtp_listener { listen = '127.0.0.1:25' }
      end)
      kumo.on('validate_config', function() end)
      kumo.on('get_queue_config', function() return kumo.make_queue_config { egress_pool = 'p' } end)
      kumo.on('get_egress_pool', function(name)
        return kumo.make_egress_pool { name = name, entries = { { name = 's' } } }
      end)
      kumo.on('get_egress_source', function(name) return kumo.make_egress_source { name = name } end)
      kumo.on('my.own.event', function() end)
    """
    assert _validate(bench, source) == Report()


def _table(entry: str, name: str = "name") -> str:
    """A policy whose messages go by a table with this one route."""
    return f"""
      kumo.on('get_queue_config', function() return {{ route_table = 'bulk' }} end)
      kumo.on('get_route_table', function(name)
        return {{ name = {name}, routes = {{ {{ name = 'a', {entry} }} }} }}
      end)
    """


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (_table("weight = -1"), r"policy\.lua:3: .*weight' of route 'a' must be 0 or more"),
        (_table("weight = 0 / 0"), r"weight' of route 'a' must be 0 or more"),
        (_table("weight = 1", "'other'"), r":3: get_route_table was asked for 'bulk' and returned the table 'other'"),
        (_table("weight = 1, egress_pool = 'p'"), r"no handler .*'get_egress_pool'"),
        (
            _table("weight = 1, protocol = { custom_lua = { constructor = 'c' } }"),
            r":3: get_route_table names the constructor 'c' for route 'a' of 'bulk', which has no handler",
        ),
        ("kumo.on('get_queue_config', function() return { route_table = 'bulk' } end)", r"route table 'bulk'.*handler"),
        ("local = 1", r"policy\.lua:1: .*near '='"),
        ("kumo.on('init', function()\nkumo.start_esmtp_listener { lisen = 'x' } end)", r":2: .*did you mean 'listen'"),
        ("kumo.on('init', function()\nerror 'my own' end)", r"policy\.lua:2: my own"),
        ("kumo.on('init', function()\nkumo.spawn_task { event_name = 'none' } end)", r"'none', which has no handler"),
        ("kumo.on('validate_config', function() kumo.validation_failed() end)", r"kumo\.validation_failed"),
        ("kumo.on('get_queue_config', function() return nil end)", r"policy\.lua:1: get_queue_config returned nil"),
        ("\nkumo.on('get_queue_config', function() return { max_age = 'x' } end)", r"policy\.lua:2: .*'max_age'"),
        ("kumo.on('get_queue_config', function() return { egress_pool = 'p' } end)", r"no handler .*'get_egress_pool'"),
        (
            "kumo.on('get_queue_config', function() return { protocol = { custom_lua = { constructor = 'c' } } } end)",
            r"policy\.lua:1: .*constructor 'c' for example\.com, which has no handler",
        ),
        ("kumo.on('get_egress_path_config', function() return { enable_tls = 'Requird' } end)", r"mean 'Required'"),
        ("kumo.on('get_listener_domain', function() return { relay_too = true } end)", r"did you mean 'relay_to'"),
        (
            "kumo.on('init', function()\nkumo.start_http_listener { listen = '0.0.0.0:99999' } end)",
            r"policy\.lua:2: .*'listen'",
        ),
        ("kumo.on('init', function()\nkumo.start_esmtp_listener { listen = 'localhost' } end)", r":2: .*write it like"),
        ("kumo.on('init', function() kumo.start_http_listener {} kumo.start_http_listener {} end)", r"two .*:8000"),
        ("kumo.on('get_queue_config', function() while true do end end)", r"CPU time"),
    ],
)
def test_errors(bench: Bench, source: str, error: str) -> None:
    """Each is found, and says where."""
    bench.cpu_budget = 0.05
    report = _validate(bench, source)
    assert not report.is_valid
    assert any(re.search(error, text, re.DOTALL) for text in report.errors), report.errors


def test_stages_of_a_fallback_are_tables_that_policy_knows(bench: Bench) -> None:
    """One that it does not know, or that is wrong, is told with the table that names it; the rest is checked, too."""
    source = """
      kumo.on('get_queue_config', function() return { route_table = 'mail' } end)
      kumo.on('get_route_table', function(name)
        local routes = { { name = 'a', weight = name == 'text' and -1 or 1 } }
        local fallback = name == 'mail' and { { route_table = 'push' }, { route_table = 'text' } } or {}
        if name ~= 'push' then return { name = name, routes = routes, fallback = fallback } end
      end)
    """
    push, text = _validate(bench, source).errors
    assert re.fullmatch(
        r"route table 'push', a stage of the fallback of 'mail': .*:3: get_route_table knows no table 'push'", push
    )
    assert text.startswith("route table 'text', a stage of the fallback of 'mail': ")
    assert "must be 0 or more" in text


def test_a_mistake_in_one_event_hides_none_in_another(bench: Bench) -> None:
    """Both are in one report."""
    source = """
      kumo.on('get_queue_config', function() return { max_age = 'x' } end)
      kumo.on('get_egress_path_config', function() return { enable_tls = 'x' } end)
    """
    errors = "\n".join(_validate(bench, source).errors)
    assert "'max_age'" in errors
    assert "'enable_tls'" in errors


def test_who_asks_for_what_happens_anyway_is_not_warned(bench: Bench) -> None:
    """KumoMTA's usual `define_spool` calls say that the store is RocksDB, which it is."""
    source = """
      kumo.on('init', function()
        kumo.start_http_listener {}
        kumo.define_spool { name = 'data', path = '/nowhere', kind = 'RocksDB', flush = true }
      end)
    """
    assert _validate(bench, source) == Report()


def test_warnings(bench: Bench) -> None:
    """Event names that are nearly ours, KumoMTA's events that never run, options without effect."""
    source = (
        "kumo.on('smtp_server_mesage_received', function() end)\nkumo.on('rebind_message', function() end)\n"
        "kumo.on('init', function()\n"
        "  kumo.start_http_listener {} kumo.start_esmtp_listener { deferred_spool = true } end)"
    )
    report = _validate(bench, source)
    assert report.is_valid
    warnings = "\n".join(report.warnings)
    assert "did you mean 'smtp_server_message_received'" in warnings
    assert "'rebind_message' is known to KumoMTA but never runs" in warnings
    assert "kumo.start_esmtp_listener: option 'deferred_spool' has no effect" in warnings


@pytest.mark.parametrize(
    ("source", "warning"),
    [
        (
            "kumo.on('get_queue_config', function()\nreturn { protocol = { sendgrid = { api_key = '/n/key' } } } end)",
            r"policy\.lua:1: get_queue_config: option 'protocol\.sendgrid\.api_key' names the file /n/key: No such",
        ),
        (
            _table("weight = 1, protocol = { webhook = { url = 'https://x.example', secrets = { '/none/s' } } }"),
            r":3: route table 'bulk': option 'routes\.1\.protocol\.webhook\.secrets\.1' names the file /none/s: No",
        ),
        (
            "kumo.on('get_egress_path_config', function() return { smtp_auth_plain_password = '/none/p' } end)",
            r":1: get_egress_path_config: option 'smtp_auth_plain_password' names the file /none/p: No such file",
        ),
        (
            "kumo.on('init', function() kumo.start_http_listener { receipts = "
            "{ mailgun = { main = { signing_key = '/none/k' } } } } end)",
            r"start_http_listener: option 'receipts\.mailgun\.main\.signing_key' names the file /none/k: No such file",
        ),
        (
            "kumo.on('init', function() kumo.start_esmtp_listener { tls_private_key = '/tmp' } end)",
            r"start_esmtp_listener: option 'tls_private_key' names the file /tmp, which is a directory",
        ),
        (
            "kumo.on('init', function() "
            "kumo.start_smpp_receiver { host = 'h', system_id = 'i', password = '/none' } end)",
            r"start_smpp_receiver: option 'password' names the file /none: No such file",
        ),
        (
            "kumo.on('init', function() kumo.start_esmtp_listener { tls_private_key = '-----BEGIN\\nX' } end)",
            r"option 'tls_private_key' is a text with line breaks and no file name",
        ),
    ],
)
def test_a_key_file_that_is_not_there(bench: Bench, source: str, warning: str) -> None:
    """A mistyped path is a warning with option and file, once, and no error: the file may come before the start."""
    report = _validate(bench, source)
    assert report.is_valid, report.errors
    found = [text for text in report.warnings if re.search(warning, text)]
    assert len(found) == 1, report.warnings
    assert "BEGIN" not in found[0]


@pytest.mark.parametrize(
    ("domain", "protocol", "option"),
    [
        ("sms", "smpp = { host = 'h', system_id = 'i', password = '/none/key' }", "smpp.password"),
        ("push!fcm", "fcm = { service_account = '/none/key' }", "fcm.service_account"),
        ("chat!discord", "discord = { webhook = '/none/key' }", "discord.webhook"),
    ],
)
def test_key_files_of_what_is_no_mail(bench: Bench, domain: str, protocol: str, option: str) -> None:
    """Queues that the send API makes are asked for, too; a policy that rejects the others is right."""
    wanted, _, routing = domain.partition("!")
    source = f"""
      kumo.on('init', function() kumo.start_http_listener {{}} end)
      kumo.on('get_queue_config', function(domain, tenant, campaign, routing)
        if domain == '{wanted}' and (routing or '') == '{routing}' then return {{ protocol = {{ {protocol} }} }} end
        if not domain:find('.', 1, true) then kumo.reject(550, 'what is ' .. domain .. '?') end
        return {{}}
      end)
    """
    report = _validate(bench, source)
    assert not report.errors
    (warning,) = report.warnings
    assert f"get_queue_config: option 'protocol.{option}' names the file /none/key: No such file" in warning


def test_keys_that_are_somewhere_else(bench: Bench) -> None:
    """A file that is there, the environment, Vault, an event and a key in the policy are no reason for a warning."""
    (bench.path.parent / "key").write_text("k")
    keys = [
        f"'{bench.path.parent / 'key'}'",
        "{ env = 'NOT_SET_HERE' }",
        "{ vault_mount = 'm', vault_path = 'p' }",
        "{ event_name = 'e' }",
        "{ key_data = '/none' }",
    ]
    routes = [
        f"{{ name = 'r{number}', weight = 1, protocol = {{ sendgrid = {{ api_key = {key} }} }} }}"
        for number, key in enumerate(keys)
    ]
    source = f"""
      kumo.on('init', function() kumo.start_http_listener {{}} end)
      kumo.on('get_queue_config', function() return {{ route_table = 'bulk' }} end)
      kumo.on('get_route_table', function(name) return {{ name = name, routes = {{ {", ".join(routes)} }} }} end)
    """
    assert _validate(bench, source).warnings == []


def test_a_handler_that_waits_too_long_is_reported(bench: Bench) -> None:
    """A policy that hangs in a lookup does not hang the check."""
    bench.write("kumo.on('init', function() kumo.wait 'for ever' end)")
    work = Deferred.fromCoroutine(validate(bench.path, bench.services))
    bench.clock.advance(30)
    report = now(_await(work))
    assert any("takes longer than 20 s" in error for error in report.errors)


async def _await(work: object) -> Report:
    return await work  # type: ignore[misc]


def test_a_policy_that_fails_for_the_send_api(bench: Bench) -> None:
    """A mistake that mail never comes upon is told, once for all kinds; where nothing can be sent so, nobody cares."""
    source = """
      kumo.on('init', function() %s end)
      kumo.on('get_queue_config', function(domain)
        if domain == 'webpush' then kumo.reject(550, 'no browsers') end
        if domain == 'sms' then return { protocol = { twilio = { acount_sid = 'AC' } } } end
        return { retry_interval = domain:match('%%.(%%a+)$'):len() }
      end)
    """
    report = _validate(bench, source % "kumo.start_http_listener {}")
    assert report.is_valid
    sms, others = report.warnings
    assert re.fullmatch(
        r"queues of the send API \(sms\): .*:3: get_queue_config: unknown option 'protocol.twilio.acount_sid'; "
        r"did you mean 'account_sid'\?",
        sms,
    )
    assert others.startswith(
        "queues of the send API (push!fcm, push!apns, chat!slack, chat!teams, chat!discord, chat!telegram): "
    )
    assert "policy.lua:6: attempt to index a nil value" in others
    assert _validate(bench, source % "kumo.start_esmtp_listener {}") == Report()


def test_a_handler_that_hangs_for_the_send_api(bench: Bench) -> None:
    """It is asked no more after it has taken as long as a handler may."""
    bench.write(
        "kumo.on('init', function() kumo.start_http_listener {} end)\n"
        "kumo.on('get_queue_config', function(domain)\n"
        "  if not domain:find '%.' then kumo.wait 'for ever' end\n"
        "  return {}\n"
        "end)"
    )
    work = Deferred.fromCoroutine(validate(bench.path, bench.services))
    bench.clock.advance(20)
    (warning,) = work.result.warnings
    assert warning == "queues of the send API (sms): takes longer than 20 s"


WEBHOOK = "{ webhook = { %s } }"
TABLE = """
  kumo.on('init', function()
    kumo.start_http_listener {}
    kumo.configure_log_hook { name = 'feed' }
  end)
  kumo.on('get_queue_config', function(domain)
    if domain == '%s' then return { protocol = %s } end
    return { route_table = 'bulk' }
  end)
  kumo.on('get_route_table', function(name)
    return { name = name, routes = { { name = 'a', weight = 1 }, { name = 'b', weight = 1, protocol = %s } } }
  end)
"""
OPEN = "{ null = {} }"


@pytest.mark.parametrize("domain", ["example.com", "sms", "feed.log_hook"])
@pytest.mark.parametrize(
    ("options", "host"),
    [
        ("url = 'http://10.1.2.3/hook'", "10.1.2.3"),
        ("url = 'http://localhost:8080/'", "localhost"),
        ("secret_url = { key_data = 'http://[::1]/s3cret' }", "::1"),
    ],
)
def test_a_url_that_the_daemon_will_not_call(bench: Bench, domain: str, options: str, host: str) -> None:
    """A webhook inside our own network is refused with each message, so it is told before the first one."""
    option = options.partition(" ")[0]
    (error,) = _validate(bench, TABLE % (domain, WEBHOOK % options, OPEN)).errors
    assert error.endswith(
        f"policy.lua:6: get_queue_config: option 'protocol.webhook.{option}' leads to {host}, which is not on the "
        "public Internet: nobody would be called; mend it, or set allow_private_addresses = true beside it"
    )
    (error,) = _validate(bench, TABLE % ("", OPEN, WEBHOOK % options)).errors
    assert f":10: route table 'bulk': option 'routes.2.protocol.webhook.{option}' leads to {host}" in error
    allowed = WEBHOOK % f"{options}, allow_private_addresses = true"
    assert _validate(bench, TABLE % (domain, allowed, allowed)) == Report()


@pytest.mark.parametrize(
    "options",
    ["url = 'https://hooks.example.com/'", "url = 'http://intranet/'", "url_meta = 'to'", "secret_url = { env = 'X' }"],
)
def test_a_url_that_may_be_called(bench: Bench, options: str) -> None:
    """What a name leads to is seen when it is called; what stands elsewhere is not known here."""
    assert _validate(bench, TABLE % ("example.com", WEBHOOK % options, WEBHOOK % options)) == Report()


def test_an_environment_variable_that_is_not_set(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy may do without, and the daemon may have it: it is noted in one line, and no reason for a warning."""
    for name in ("KUMOTWIST_A", "KUMOTWIST_B", "KUMOTWIST_C"):
        monkeypatch.delenv(name, raising=False)
    source = """
      local pool = os.getenv 'KUMOTWIST_B'
      kumo.on('init', function() kumo.start_http_listener { listen = os.getenv 'KUMOTWIST_C' or '127.0.0.1:1' } end)
      kumo.on('get_queue_config', function()
        return { egress_pool = os.getenv 'KUMOTWIST_A' }
      end)
    """
    report = _validate(bench, source)
    assert report.notes == ["os.getenv finds nothing here for KUMOTWIST_B (policy.lua:2), KUMOTWIST_A (policy.lua:5)"]
    assert report.is_valid
    assert report.warnings == []
    monkeypatch.setenv("KUMOTWIST_A", "unspecified")
    monkeypatch.setenv("KUMOTWIST_B", "")
    assert _validate(bench, source) == Report()

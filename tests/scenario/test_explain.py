"""`kumotwist explain` and its twin on a running daemon: every decision, and nothing sent."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from support.daemon import Daemon, Sink, mail

SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "explain.schema.json"
POLICY = """
local kumo = require 'kumo'

kumo.on('init', function()
  kumo.start_esmtp_listener { listen = '127.0.0.1:0' }
  kumo.start_http_listener { listen = '127.0.0.1:0' }
  kumo.configure_local_logs { log_dir = os.getenv 'LOGS' or '/nowhere', max_segment_duration = '1 second' }
end)

kumo.on('smtp_server_message_received', function(msg)
  if msg:get_first_named_header_value 'subject' == 'spam' then kumo.reject(550, 'no, thank you') end
  msg:set_meta('tenant', msg:get_first_named_header_value 'x-tenant')
  msg:remove_x_headers { 'x-tenant' }
end)

kumo.on('get_queue_config', function(domain, tenant)
  return kumo.make_queue_config { route_table = 'bulk', max_age = '1 day' }
end)

kumo.on('get_route_table', function(name)
  local relay = { smtp = { mx_list = { os.getenv 'RELAY' or '127.0.0.1:9' } } }
  return kumo.make_route_table {
    name = name,
    class = 'all',
    on_failure = 'next_route',
    routes = {
      { name = 'api', weight = 20, protocol = { sendgrid = { api_key = { key_data = 's3cret' } } } },
      { name = 'local', weight = 80, protocol = relay, budgets = { { rate = '1,000/h', by = 'tenant' } } },
    },
  }
end)

kumo.on('get_egress_path_config', function()
  return kumo.make_egress_path { connection_limit = 5, max_message_rate = '100/s', prohibited_hosts = {} }
end)
"""
OUTAGE = """
duration = "2 minutes"
rate = 1
[[trouble]]
route = "api"
from = "30 seconds"
until = "1 minute"
success = 0.0
"""
MESSAGE = "From: a@src.test\r\nX-Tenant: acme\r\nSubject: hi\r\n\r\nbody\r\n"


def explain(tmp_path: Path, *arguments: str, message: str = MESSAGE) -> subprocess.CompletedProcess[str]:
    policy, file = tmp_path / "policy.lua", tmp_path / "message.eml"
    policy.write_text(POLICY)
    file.write_bytes(message.encode())
    command = [sys.executable, "-m", "kumotwist.service.main", "explain", f"--policy={policy}", str(file)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_a_policy_is_explained_for_people(tmp_path: Path) -> None:
    """What each handler changed, the queue, the routes, the limits and the consequences; no secret."""
    done = explain(tmp_path, "--from=a@src.test", "--to=u@dest.test")
    assert done.returncode == 0, done.stderr
    for words in (
        "smtp_server_message_received (",
        "meta tenant set to 'acme'",
        "header X-Tenant removed, was acme",
        "queue        acme@dest.test",
        "max_age = 1day",
        "route table  bulk, where the message is of class all (by all)",
        "->   local: 80.0% by weight, 80.0% now, nothing learned yet",
        "the next message goes by local: it is furthest behind its share",
        "budget 1000/h by tenant, then hold",
        "ready queue unspecified->mx_list:127.0.0.1:9@smtp_client",
        "max_message_rate: 100/s",
        "at once over api; if that fails, again",
    ):
        assert words in done.stdout
    assert "s3cret" not in done.stdout + done.stderr


def test_the_example_of_the_page_is_true(tmp_path: Path) -> None:
    """Word for word, from the policy and the message that the page shows."""
    page = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()
    policy, message, told = re.findall(r"```\w*\n(.*?)```", page, re.DOTALL)[:3]
    (tmp_path / "policy.lua").write_text(policy)
    (tmp_path / "message.eml").write_text(message)
    asked, _, answer = told.partition("\n")
    words = asked.replace("/etc/kumotwist", str(tmp_path)).replace("message.eml", f"{tmp_path}/message.eml").split()
    command = [sys.executable, "-m", "kumotwist.service.main", *words[2:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # Lua shortens the names of long directories.
    said, shown = (re.sub(r"\(\S*policy\.lua:", "(policy.lua:", text) for text in (done.stdout, answer))
    assert said == shown


def test_and_for_programs(tmp_path: Path) -> None:
    """The same as JSON; a pinned route is the one that is followed, its secret named and not shown."""
    done = explain(tmp_path, "--to=u@dest.test", "--meta=route=api", "--json")
    told = json.loads(done.stdout)
    assert told["way"]["pinned"] is True
    assert told["way"]["secrets"] == {"api_key": "given in the policy"}
    assert told["way"]["sources"][0]["ready_queue"] == "unspecified->api.sendgrid.com@sendgrid"
    assert "s3cret" not in done.stdout


def test_metadata_that_names_a_table_is_pointed_out(tmp_path: Path) -> None:
    """The queue's own table stands just above it."""
    done = explain(tmp_path, "--to=u@dest.test", "--meta=route_table=other")
    assert "route_table = bulk\n" in done.stdout
    assert "goes by table other all the same, since meta.route_table says so\nroute table  other" in done.stdout


def test_metadata_that_names_the_tables_own_is_no_news(tmp_path: Path) -> None:
    """And nothing is said of it where the message goes by another table, such as a stage of a fallback."""
    done = explain(tmp_path, "--to=u@dest.test", "--meta=route_table=bulk")
    assert "all the same" not in done.stdout


def with_handlers(tmp_path: Path, handlers: str, *arguments: str) -> dict[str, Any]:
    """What programs are told of a message under a policy with more handlers."""
    policy, file = tmp_path / "policy.lua", tmp_path / "message.eml"
    policy.write_text(POLICY + handlers)
    file.write_bytes(MESSAGE.encode())
    command = [sys.executable, "-m", "kumotwist.service.main", "explain", f"--policy={policy}", str(file), "--json"]
    told = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert told.stdout, told.stderr
    answer: dict[str, Any] = json.loads(told.stdout)
    return answer


def test_what_holds_a_message_up_before_its_ready_queue(tmp_path: Path) -> None:
    """Its schedule with the time, and `throttle_insert_ready_queue`, which is run on a copy and told."""
    throttled = """
kumo.on('throttle_insert_ready_queue', function(msg) msg:set_meta('seen', 'yes') msg:set_due '2100-01-01T00:00:00Z' end)
kumo.on('http_message_generated', function(msg) msg:set_scheduling { first_attempt = '2090-01-01T00:00:00Z' } end)
"""
    told = with_handlers(tmp_path, throttled, "--to=u@dest.test", "--http")
    assert told["way"]["holds"] == [
        "throttle_insert_ready_queue holds it until 2100-01-01T00:00:00Z",
        "its schedule (set_scheduling) allows no attempt before 2090-01-01T00:00:00Z",
    ]
    events = {handler["event"]: handler for handler in told["handlers"]}
    assert list(events)[:3] == ["http_message_generated", "get_queue_config", "throttle_insert_ready_queue"]
    changes = events["throttle_insert_ready_queue"]["changes"]
    assert changes == ["meta seen set to 'yes'", "due set to 2100-01-01T00:00:00Z"]
    assert "seen" not in told["message"]["meta"], "only the copy"
    failing = "kumo.on('throttle_insert_ready_queue', function(msg) error('no idea') end)\n"
    told = with_handlers(tmp_path, failing, "--to=u@dest.test")
    assert told["way"]["holds"] == ["throttle_insert_ready_queue fails; it is run again in a minute"]
    assert "no idea" in told["handlers"][2]["problem"]


SPLITTING = (
    "kumo.on('smtp_server_split_transaction', function(msg) return {{'v@a.test', 'w@a.test'}, {'x@b.test'}} end)\n"
)


@pytest.mark.parametrize(
    ("handlers", "arguments", "said", "queue"),
    [
        (
            "",
            ["--to=u@dest.test", "--to=v@b.test", "--to=w@B.test"],
            "it becomes 3 messages, or one for each domain where the listener says BatchByDomain; this is the way of "
            "the one to u@dest.test; what goes to b.test has queues and a way of its own",
            "acme@dest.test",
        ),
        (
            "",
            ["--http", *[f"--to=u@{name}.test" for name in "abcdefgh"]],
            "it becomes 8 messages; this is the way of the one to u@a.test; what goes to b.test, c.test, d.test, "
            "e.test, f.test and 2 more domains has queues and a way of its own",
            "a.test",
        ),
        (
            SPLITTING,
            ["--to=u@dest.test"],
            "it becomes 2 messages; this is the way of the one to v@a.test, w@a.test; what goes to b.test has queues "
            "and a way of its own",
            "acme@a.test",
        ),
    ],
)
def test_several_recipients_are_several_messages(
    tmp_path: Path, handlers: str, arguments: list[str], said: str, queue: str
) -> None:
    """The first is followed, and that is said; the others are named by domain."""
    told = with_handlers(tmp_path, handlers, *arguments)
    assert told["way"]["warnings"] == [said]
    assert told["way"]["queue"] == queue
    assert len(told["message"]["recipients"]) == max(len(arguments) - ("--http" in arguments), 3 if handlers else 1)


def test_a_rejection_ends_the_story(tmp_path: Path) -> None:
    """What policy refuses has no way."""
    done = explain(tmp_path, "--to=u@dest.test", "--json", message=MESSAGE.replace("hi", "spam"))
    told = json.loads(done.stdout)
    assert told["handlers"][0]["rejected"].endswith("no, thank you")
    assert told["way"] is None


ENVELOPE = """
kumo.on('smtp_server_connection_accepted', function(conn) conn:set_meta('lan', conn:get_meta('received_from')) end)
kumo.on('smtp_server_mail_from', function(sender) if sender.domain == 'bad.test' then kumo.reject(551, 'no') end end)
kumo.on('smtp_server_rcpt_to', function(recipient, conn)
  if recipient.domain == 'blocked.test' then kumo.reject(550, '5.7.1 not to them') end
  if recipient.user == 'vip' then conn:set_meta('route', 'api') end
end)
"""


def test_the_envelope_is_shown_to_policy_as_well(tmp_path: Path) -> None:
    """What smtp_server_rcpt_to remembers in the connection decides the way, as it does in the daemon."""
    told = with_handlers(tmp_path, ENVELOPE, "--to=vip@dest.test", "--peer=::1")
    by_event = {one["event"]: one for one in told["handlers"]}
    assert by_event["smtp_server_connection_accepted"]["changes"] == ["connection meta lan set to '[::1]:50000'"]
    assert by_event["smtp_server_rcpt_to"]["changes"] == ["connection meta route set to 'api'"]
    assert by_event["smtp_server_rcpt_to"]["about"] == "vip@dest.test"
    assert [one["name"] for one in told["way"]["routes"] if one["is_chosen"]] == ["api"]
    assert list(jsonschema_rs.Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(told)) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to=u@blocked.test"], "5.7.1 not to them"),
        (["--to=u@dest.test", "--from=x@bad.test"], "551 no"),
    ],
)
def test_what_a_handler_refuses_before_the_body_has_no_way(tmp_path: Path, arguments: list[str], said: str) -> None:
    """By smtp_server_mail_from, or by smtp_server_rcpt_to, as an SMTP client would hear."""
    told = with_handlers(tmp_path, ENVELOPE, *arguments)
    assert told["handlers"][-1]["rejected"].endswith(said)
    assert told["way"] is None


def test_a_refused_recipient_is_no_matter_of_the_others(tmp_path: Path) -> None:
    """It is told, and the first that is taken is followed."""
    told = with_handlers(tmp_path, ENVELOPE, "--to=u@blocked.test", "--to=v@dest.test")
    assert [one["about"] for one in told["handlers"] if one["rejected"]] == ["u@blocked.test"]
    assert told["message"]["recipients"] == ["v@dest.test"]
    assert told["way"]["queue"] == "acme@dest.test"


DOMAINS = """
kumo.on('get_listener_domain', function(domain)
  return kumo.make_listener_domain { relay_to = domain == 'ours.test' }
end)
"""


@pytest.mark.parametrize(
    ("handlers", "to", "refused"),
    [
        ("", "u@dest.test", "policy has no get_listener_domain that allows it"),
        (DOMAINS, "u@dest.test", "relay_from and relay_to of get_listener_domain do not allow it"),
        (DOMAINS, "u@ours.test", ""),
    ],
)
def test_relaying_is_refused_as_the_listener_would(tmp_path: Path, handlers: str, to: str, refused: str) -> None:
    """relay_hosts of the listener and get_listener_domain of policy are asked about the client that is named."""
    told = with_handlers(tmp_path, handlers, f"--to={to}", "--peer=192.0.2.7")
    assert (told["way"] is None) == bool(refused)
    assert [one.endswith(refused) for one in told["refused"]] == ([True] if refused else [])
    if refused:
        assert told["refused"][0].startswith(f"{to}: 550 5.7.1 relaying not permitted for 192.0.2.7: ")
    shown = explain(tmp_path, "--to=u@dest.test", "--peer=192.0.2.7")
    assert "\nrefused      u@dest.test: 550 5.7.1 relaying not permitted for 192.0.2.7" in shown.stdout
    assert shown.returncode == 0


def test_what_queue_null_throws_away_has_no_way(tmp_path: Path) -> None:
    """A handler that sets the queue so discards the message, and that is what is said; HTTP leaves no record of it."""
    for noted, arguments in (("recorded as received, ", []), ("", ["--http"])):
        told = with_handlers(tmp_path, ENVELOPE, "--to=u@dest.test", "--meta=queue=null", *arguments)
        assert told["way"] is None
        assert told["refused"] == [f"queue null: it is taken in, {noted}and thrown away; nothing is sent"]


SECRETIVE = """
local kumo = require 'kumo'
local TABLES = {
  hook = { webhook = {
    url = 'https://user:SEKRET1@hook.example/in?token=SEKRET2&x=y', headers = { ['X-Api-Key'] = 'SEKRET3' },
  } },
  api = { sendgrid = { api_key = { key_data = 'SEKRET4' }, base_url = 'https://u:SEKRET5@127.0.0.1:1' } },
  relay = { smtp = { mx_list = { '127.0.0.1' } } },
}
kumo.on('get_queue_config', function(domain)
  return kumo.make_queue_config { protocol = TABLES[domain:match '^%a+'] }
end)
kumo.on('get_egress_path_config', function()
  return kumo.make_egress_path {
    smtp_auth_plain_username = 'me', smtp_auth_plain_password = { key_data = 'SEKRET6' },
  }
end)
"""


@pytest.mark.parametrize(
    ("domain", "secrets"),
    [
        ("hook.test", {"url": "partly given in the policy", "headers X-Api-Key": "given in the policy"}),
        ("api.test", {"api_key": "given in the policy", "base_url": "partly given in the policy"}),
        ("relay.test", {"smtp_auth_plain_password": "given in the policy"}),
    ],
)
@pytest.mark.parametrize("form", ["--json", None])
def test_secrets_are_told_by_name_only(tmp_path: Path, domain: str, secrets: dict[str, str], form: str | None) -> None:
    """Those in URLs and headers of requests as well as those of key sources, and the password that a relay asks for."""
    (tmp_path / "policy.lua").write_text(SECRETIVE)
    (tmp_path / "message.eml").write_bytes(MESSAGE.encode())
    command = [sys.executable, "-m", "kumotwist.service.main", "explain", "--policy=policy.lua", "message.eml"]
    asked = [*command, f"--to=a@{domain}", *([form] if form is not None else [])]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "SEKRET" not in done.stdout + done.stderr
    if form is not None:
        assert json.loads(done.stdout)["way"]["secrets"] == secrets
    else:
        assert all(f"secret       {name}: {where}" in done.stdout for name, where in secrets.items())


def test_a_client_that_has_logged_in(tmp_path: Path) -> None:
    """No password is asked for, and policy sees who it is."""
    told = with_handlers(tmp_path, "", "--to=u@dest.test", "--user=ann", "--helo=laptop")
    assert (told["message"]["meta"]["authn_id"], told["message"]["meta"]["ehlo_domain"]) == ("ann", "laptop")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to=u@dest.test", "--listener=2"], "--listener: the policy starts 1 ESMTP listener; there is no number 2"),
        (["--to=u@dest.test", "--peer=nobody"], "'nobody' is not an IP address"),
        (["--to=u@dest.test", "--peer=::1", "--http"], "--peer is about a message that comes by SMTP"),
        (["--to=u@dest.test", "--meta=route=x"], "meta.route is 'x'"),
        (["--to=u@dest.test", "--meta=x"], "NAME=VALUE"),
        ([], "--to"),
        (["--to=u"], "neither a mailbox"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, arguments: list[str], words: str) -> None:
    """A wrong question or an impossible way, with a status for scripts."""
    done = explain(tmp_path, *arguments)
    assert done.returncode in (1, 2)
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["explain message.eml --to=a@b.test", "simulate --scenario=outage.toml"])
def test_a_policy_that_cannot_be_read_is_a_wrong_command_line(tmp_path: Path, command: str) -> None:
    """As an unreadable message is: one line, and exit status 2."""
    (tmp_path / "message.eml").write_text(MESSAGE)
    (tmp_path / "outage.toml").write_text(OUTAGE)
    asked = [sys.executable, "-m", "kumotwist.service.main", *command.split(), "--policy=absent.lua"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "cannot read the policy absent.lua: No such file or directory\n"


def test_a_handler_that_fails_is_told_once(tmp_path: Path) -> None:
    """With file and line, an exit status for scripts, and nothing on standard error."""
    policy, file = tmp_path / "own.lua", tmp_path / "message.eml"
    policy.write_text("require('kumo').on('smtp_server_message_received', function(msg)\n  error 'what now'\nend)\n")
    file.write_text(MESSAGE)
    command = [
        sys.executable,
        "-m",
        "kumotwist.service.main",
        "explain",
        f"--policy={policy}",
        str(file),
        "--to=u@b.test",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(r"fails: \S*own\.lua:2: what now", done.stdout)
    assert "queue " not in done.stdout


def test_who_has_read_enough_may_leave(tmp_path: Path) -> None:
    """As in `kumotwist explain … | head -1`: no traceback."""
    (tmp_path / "policy.lua").write_text(POLICY)
    (tmp_path / "message.eml").write_text(MESSAGE)
    (tmp_path / "outage.toml").write_text(OUTAGE)
    for command in ("explain message.eml --to=u@dest.test", "simulate --scenario=outage.toml"):
        asked = f"{sys.executable} -m kumotwist.service.main {command} --policy=policy.lua"
        line = f"{asked} | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (1, "")


def ask(daemon: Daemon, question: dict[str, Any]) -> dict[str, Any]:
    url = f"http://127.0.0.1:{daemon.port('http')}/api/admin/explain/v1"
    request = urllib.request.Request(url, json.dumps(question).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def test_a_running_daemon_tells_what_it_has_learned(tmp_path: Path) -> None:
    """Real samples and shares; asking sends nothing and moves nothing."""
    with (
        Sink(tmp_path) as sink,
        Daemon(tmp_path, POLICY, env={"RELAY": f"127.0.0.1:{sink.port}", "LOGS": str(tmp_path / "log")}) as daemon,
    ):
        with daemon.smtp() as client:
            for number in range(4):
                client.sendmail("a@src.test", [f"u{number}@dest.test"], mail("hi", extra="X-Tenant: acme\r\n"))
        daemon.wait_for_records("Delivery", 3)
        question = {"sender": "a@src.test", "recipients": ["u@dest.test"], "content": MESSAGE}
        first, second = ask(daemon, question), ask(daemon, question)
        assert first == second
        assert list(jsonschema_rs.Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(first)) == []
        by_name = {route["name"]: route for route in first["way"]["routes"]}
        assert by_name["local"]["samples"] >= 3
        for wrong in ({"recipients": ["not an address\r\n"]}, {**question, "listener": 2}, {**question, "peer": "me"}):
            with pytest.raises(urllib.error.HTTPError, match="422"):
                ask(daemon, wrong)
        assert "not permitted for 192.0.2.7" in ask(daemon, {**question, "peer": "192.0.2.7"})["refused"][0]
        assert ask(daemon, {"recipients": ["+4915112345678"]})["message"]["recipients"] == ["+4915112345678@sms"]
        assert len(daemon.records("Reception")) == 4


FALLING_BACK = POLICY.replace("max_age = '1 day'", "max_age = '1 day', retry_interval = '10 minutes'").replace(
    "    class = 'all',",
    "    class = 'all', fallback = name == 'bulk' and { { route_table = 'second', wait = '1 hour' } } or nil,",
)


def queued(daemon: Daemon, spool_id: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What the command says of a message in the queue."""
    url = f"http://127.0.0.1:{daemon.port('http')}"
    command = [sys.executable, "-m", "kumotwist.service.main", "explain", f"--id={spool_id}", f"--daemon={url}"]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)


def test_a_message_in_the_queue_is_followed_from_where_it_is(tmp_path: Path) -> None:
    """Whichever worker has it: attempts, when it is due, its stage, what is left to it; nothing is changed."""
    nobody = {"RELAY": "127.0.0.1:9", "LOGS": str(tmp_path / "log")}
    with Daemon(tmp_path, FALLING_BACK, workers=2, env=nobody) as daemon:
        with daemon.smtp() as client:
            client.sendmail("a@src.test", ["u0@dest.test"], mail("hi", extra="X-Tenant: acme\r\n"))
        with daemon.smtp() as client:
            client.sendmail("a@src.test", ["u1@dest.test"], mail("hi", extra="X-Tenant: acme\r\n"))
        ids = {one["id"] for one in daemon.wait_for_records("TransientFailure", 4)}
        assert len(ids) == 2
        for spool_id in ids:
            told = [ask(daemon, {"id": spool_id}) for _ in range(4)]
            for one in told:
                assert list(jsonschema_rs.Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(one)) == []
                assert one["queued"]["attempts"] == 1
                assert one["queued"]["next"].startswith("its attempt number 2 is due in ")
                assert (one["queued"]["course"]["stage"], one["queued"]["course"]["until_state"]) == (
                    "bulk",
                    "delivered",
                )
                assert one["message"]["meta"]["tenant"] == "acme"
                assert [stage["route_table"] for stage in one["way"]["fallback"]] == ["second"]
                then = {failure["case"]: failure["then"] for failure in one["way"]["on_failure"]}
                assert then["refused_for_now"].startswith("again after 20m; it goes on by route table second after 59m")
            assert len({json.dumps(one["queued"]["due"]) for one in told}) == 1
        done = queued(daemon, ids.pop())
        assert done.returncode == 0, done.stderr
        assert "1 attempts so far\n               on the fallback of bulk: on bulk since 2" in done.stdout
        assert "route table  bulk, where the message is of class all (by all)" in done.stdout
        missing = queued(daemon, "0" * 32)
        assert (missing.returncode, missing.stdout) == (2, "")
        assert "no worker has the message" in missing.stderr
        for question in ({"id": "nothing"}, {"id": "0" * 32, "sender": "a@src.test"}, {}):
            with pytest.raises(urllib.error.HTTPError, match="422"):
                ask(daemon, question)
        assert len(daemon.records("TransientFailure")) == 4, "nothing was tried"
    gone = queued(daemon, "0" * 32)
    assert gone.returncode == 2
    assert "--daemon http://127.0.0.1:" in gone.stderr


def test_every_worker_tells_the_same_after_a_restart(tmp_path: Path) -> None:
    """Also one that has not sent anything by the table since."""
    with Sink(tmp_path) as sink:
        env = {"RELAY": f"127.0.0.1:{sink.port}", "LOGS": str(tmp_path / "log")}
        with Daemon(tmp_path, POLICY, workers=2, env=env) as daemon:
            with daemon.smtp() as client:
                for number in range(5):
                    client.sendmail("a@src.test", [f"u{number}@dest.test"], mail("hi", extra="X-Tenant: acme\r\n"))
            daemon.wait_for_records("Delivery", 4)
        question = {"sender": "a@src.test", "recipients": ["u@dest.test"], "content": MESSAGE}
        with Daemon(tmp_path, POLICY, workers=2, env=env) as daemon:
            told = [{one["name"]: one for one in ask(daemon, question)["way"]["routes"]} for _ in range(6)]
    assert {round(one["local"]["samples"]) for one in told} == {4}

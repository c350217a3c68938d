"""`kumotwist policy-test`: a user's tests of a policy are run, told of clearly, and never touch the world outside."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kumotwist.trial.policytest.command import main
from kumotwist.trial.policytest.running import run

PAGE = Path(__file__).parents[3] / "docs" / "policy-tests.md"
POLICY = """
local kumo = require 'kumo'
kumo.on('init', function()
  kumo.start_esmtp_listener { listen = '127.0.0.1:2525' }
end)
kumo.on('get_queue_config', function(domain)
  if domain == 'broken.example' then
    error 'what now'
  end
  return kumo.make_queue_config { retry_interval = '5 minutes', protocol = { sendgrid = { api_key = '/k' } } }
end)
"""
HEAD = "local kumo = require 'kumo'\nkumo.test.policy 'policy.lua'\n"


@pytest.fixture
def result_of(tmp_path):
    """Runs a test file made of cases beside a policy."""

    def run_it(*bodies, policy=POLICY, head=HEAD):
        (tmp_path / "policy.lua").write_text(policy)
        cases = "".join(f"kumo.test.case('case {n}', function(t)\n{body}\nend)\n" for n, body in enumerate(bodies))
        (tmp_path / "a_test.lua").write_text(head + cases)
        return run([tmp_path / "a_test.lua"])

    return run_it


def failure_of(result):
    (one,) = (one for one in result.outcomes if not one.has_passed)
    return one


MAIL = "t:smtp { from = 'a@example.com', to = 'b@example.org' }\n"


def test_the_example_of_the_page_works_when_pasted(tmp_path):
    """What docs/policy-tests.md shows passes, and runs every line of its policy."""
    policy, tests, *_ = re.findall(r"```lua\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "policy.lua").write_text(policy)
    (tmp_path / "policy_test.lua").write_text(tests)
    result = run([tmp_path / "policy_test.lua"])
    assert [(one.name, one.failure) for one in result.outcomes if not one.has_passed] == []
    assert [f"ok    policy_test.lua: {one.name}" in PAGE.read_text() for one in result.outcomes] == [True] * 5
    assert {name: lines.missing for name, lines in result.files.items()} == {str(tmp_path / "policy.lua"): []}


@pytest.mark.parametrize(
    ("body", "said", "line"),
    [
        ("t:equal(1, 2, 'the count')", "the count: expected 2, got 1", 4),
        ("t:equal({ a = { 1, 2 } }, { a = { 1, 3 } })", 'expected {"a":[1,3]}, got {"a":[1,2]}', 4),
        ("t:contains('hello', 'x')", 'expected "x" in "hello"', 4),
        ("t:is_true(nil, 'it')", "it: expected a true value, got nil", 4),
        ("\nt:fail 'no'", "no", 5),
        ("local x\nreturn x.y", "attempt to index a nil value (local 'x')", 5),
        ("t:smtp { too = 'b@example.org' }", "smtp takes from, to,", 4),
        ("t:smtp { from = 'a@b.example', to = 'c@d.example', listener = 2 }", "there is no number 2", 4),
        ("t:answer('smtp', { 99 })", "must be from 200 to 599, got 99", 4),
        ("t:answer('smtp', { 'dunno' })", "begins with a code or one of", 4),
        ("t:web('http://', { code = 200 })", "not 'code'", 4),
        ("t:advance '-1s'", "", 4),
        ("t:advance(1e9)", "0 seconds to 31 days", 4),
        ("t:http { content = 'x' }", "envelope_sender", 4),
    ],
)
def test_a_failure_is_told_with_its_place(result_of, body, said, line):
    """Who reads the report knows which line expected what, and what came."""
    failed = failure_of(result_of(body))
    assert said in failed.failure
    assert failed.place.endswith(f"a_test.lua:{line}")


def test_what_the_policy_logged_is_shown_with_the_failure(result_of):
    """An error of the policy is the reason more often than not."""
    failed = failure_of(result_of("t:equal(t:smtp { to = 'a@broken.example' }.code, 250)"))
    assert "expected 250, got 4" in failed.failure
    assert any("what now" in line for line in failed.log)


def test_each_case_has_a_world_of_its_own(result_of):
    """Neither messages, nor answers, nor Lua's globals, nor what the environment was told outlive a case."""
    head = HEAD.replace("'policy.lua'", "('policy.lua', { env = { POLICY_TEST_X = '1' } })") + "count = 0\n"
    body = "count = count + 1 t:equal(count, 1) t:equal(t:records(), {}) t:answer('smtp', { 550, 'no' })\n" + MAIL
    assert result_of(body, body, head=head).has_passed
    assert "POLICY_TEST_X" not in os.environ


def test_time_passes_as_the_test_says(result_of):
    """Retries double, an hour takes no time, and the clock of the policy goes along."""
    policy = (
        POLICY + "kumo.on('smtp_server_message_received', function(m) m:set_meta('at', tostring(kumo.time.now())) end)"
    )
    head = HEAD.replace("'policy.lua'", "('policy.lua', { now = '2026-03-01T12:00:00Z' })")
    result = result_of(
        "t:answer('sendgrid', { { 451, 'a' }, { 451, 'b' }, { 451, 'c' }, { 202, 'ok' } })\n"
        + MAIL
        + "t:contains(t:messages()[1]:get_meta 'at', '2026-03-01 12:00')\n"
        "local at = t:now() t:advance '1 hour' t:equal(t:now() - at, 3600)\n"
        "t:equal(#t:attempts(), 4) t:equal(#t:delivered(), 1) t:equal(t:queued(), 0)",
        policy=policy,
        head=head,
    )
    assert [one.failure for one in result.outcomes] == [""]


@pytest.mark.parametrize(
    ("answer", "kind", "queued"),
    [
        ("{ 202, 'ok' }", "Delivery", 0),
        ("{ 550, '5.1.1 no' }", "Bounce", 0),
        ("{ 451, 'later' }", "TransientFailure", 1),
        ("{ 421, 'bye' }", "TransientFailure", 1),
        ("{ 'unknown' }", "TransientFailure", 1),
        ("{ 'unreachable' }", "TransientFailure", 1),
        ("{ 'throttled', 30 }", "Reception", 1),
        ("function(message) return { 550, message:recipient().email } end", "Bounce", 0),
    ],
)
def test_what_the_other_side_answers(result_of, answer, kind, queued):
    """Every kind of answer ends in the queue as it does in the daemon."""
    expected = (
        f"t:answer('sendgrid', {answer})\n{MAIL}t:is_true(#t:records '{kind}' > 0)\nt:equal(t:queued(), {queued})"
    )
    assert [one.failure for one in result_of(expected).outcomes] == [""]


@pytest.mark.parametrize(
    "whom", ["sendgrid", "example.org", "unspecified", "unspecified->api.sendgrid.com@sendgrid", "api.sendgrid.com"]
)
def test_whom_answers_may_be_for(result_of, whom):
    """A protocol, a domain, a source, a site, or one ready queue."""
    result = result_of(
        f"t:answer('{whom}', {{ 550, 'no' }})\n{MAIL}t:equal(#t:records 'Bounce', 1, t:attempts()[1].site)"
    )
    assert [one.failure for one in result.outcomes] == [""]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a_test.lua": "kumo.on("}, "a_test.lua:1"),
        ({"a_test.lua": "local kumo = require 'kumo'"}, "names no policy"),
        ({"a_test.lua": HEAD}, "has no case"),
        ({"a_test.lua": HEAD + "kumo.test.case('x', function() end)"}, "cannot read the policy"),
        ({"a_test.lua": HEAD + "kumo.test.case('x', function() end)", "policy.lua": "local = 1"}, "policy.lua:1"),
        (
            {
                "a_test.lua": HEAD + "kumo.test.case('x', function() end)",
                "policy.lua": "local kumo = require 'kumo' kumo.on('init', function() kumo.start_esmtp_listener "
                "{ listen = '127.0.0.1:25', peer = { ['127.0.0.0/8'] = { banner = {} } } } end)",
            },
            "banner",
        ),
        ({"a_test.lua": HEAD + "kumo.test.case('x', { envs = {} }, function() end)", "policy.lua": ""}, "not 'envs'"),
        (
            {"a_test.lua": HEAD + "kumo.test.case('x', { now = 'yesterday' }, function() end)", "policy.lua": ""},
            "now is a time like '2026-03-01T12:00:00Z', not 'yesterday'",
        ),
        (
            {"a_test.lua": "local kumo = require 'kumo' kumo.on('smtp_server_rcpt_to', function() end)"},
            "it registers 'smtp_server_rcpt_to'; a test file names its policy with kumo.test.policy 'policy.lua'",
        ),
    ],
)
def test_what_cannot_be_loaded_fails(tmp_path, capsys, files, said):
    """A mistake in a test file or the policy is a failure with its place, and no traceback of ours."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert said in out
    assert "Traceback" not in out


def test_what_the_page_says_of_receipts_holds(tmp_path):
    """Its pieces, each with mail to Ann before it, under the policy of the page."""
    policy, _, *pieces = re.findall(r"```lua\n(.*?)```", PAGE.read_text(), re.DOTALL)
    pieces = [piece for piece in pieces if "t:receipt(" in piece]
    assert len(pieces) == 2
    (tmp_path / "policy.lua").write_text(policy)
    cases = [f"kumo.test.case('{at}', function(t)\n{piece}\nend)\n" for at, piece in enumerate(pieces)]
    mail = """local function mail(t)
      return t:smtp { from = 'news@example.com', to = 'ann@example.org', headers = { ['X-Tenant'] = 'shop' } }
    end\n"""
    cases[0] = cases[0].replace("(t)\n", "(t) for _ = 1, 2 do mail(t) end\n")
    (tmp_path / "a_test.lua").write_text(HEAD + mail + "".join(cases))
    assert [(one.name, one.failure) for one in run([tmp_path / "a_test.lua"]).outcomes] == [("0", ""), ("1", "")]


@pytest.mark.parametrize(
    "wrong",
    ["--timeout=nan", "--timeout=0", "--timeout=-1", "--timeout=x", "--min-coverage=101", "--min-coverage=nan"],
)
def test_a_number_that_cannot_be_meant_is_one_line(tmp_path, capsys, wrong):
    """And exit status 2, before any test runs."""
    (tmp_path / "policy.lua").write_text(POLICY)
    (tmp_path / "a_test.lua").write_text(HEAD + f"kumo.test.case('good', function(t) {MAIL} end)\n")
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path), wrong])
    said = capsys.readouterr()
    assert (caught.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert f"{wrong.partition('=')[2]!r} is not a number " in said.err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("t:equal(#t:records('Bonce'), 0)", "there are no 'Bonce' records; did you mean 'Bounce'?"),
        ("t:records('Bounce', { recipent = 'x' })", "a record has no field 'recipent'; did you mean 'recipient'?"),
        ("t:records(nil, { response = { cod = 1 } })", "the response of a record has no field 'cod'"),
        ("t:records(nil, { fallback = { too = 'x' } })", "the fallback of a record has no field 'too'"),
        (MAIL + "t:hops('zz')", "no message has the id 'zz'"),
        ("t:smtp { to = 'x@y.org', peer = 'zz' }", "peer is an IP address such as '192.0.2.1', not 'zz'"),
        ("t:http({}, 'zz')", "peer is an IP address such as '192.0.2.1', not 'zz'"),
        ("t:smtp { to = 'x@y.org', data = 'x', body = 'y' }", "there can be no body beside it"),
    ],
)
def test_a_misspelt_expectation_does_not_pass_for_ever(result_of, body, said):
    """What can never be found or heeded is an error at its line, and no empty list."""
    failed = failure_of(result_of(body))
    assert said in failed.failure
    assert failed.place.rpartition(":")[2].isdigit()


def test_records_may_be_asked_for_by_all_that_they_have(result_of):
    """Metadata by any name, and the fields of tables within a record."""
    body = (
        MAIL
        + """t:record('Delivery', { meta = { received_from = '127.0.0.1:50000' }, response = { code = 250 } })
    t:equal(#t:records('Fallback', { fallback = { to = 'x' } }), 0)
    t:equal(#t:records('Receipt', { receipt = { class = 'block', facts = { any = 'x' } } }), 0)"""
    )
    assert [one.failure for one in result_of(body).outcomes] == [""]


def test_a_message_comes_by_the_listener_that_is_named(result_of):
    """A policy that tells submission from relay by received_via takes the branch that the listener means."""
    policy = POLICY.replace(
        "  kumo.start_esmtp_listener { listen = '127.0.0.1:2525' }\n",
        "  kumo.start_esmtp_listener { listen = '127.0.0.1:2525' }\n"
        "  kumo.start_esmtp_listener { listen = '0.0.0.0:2587', relay_hosts = { '0.0.0.0/0' } }\n",
    )
    body = """for listener, via in ipairs { '127.0.0.1:2525', '127.0.0.1:2587' } do
      t:smtp { from = 'a@example.com', to = 'b@example.org', listener = listener }
      t:equal(t:messages()[listener]:get_meta 'received_via', via)
    end"""
    assert [one.failure for one in result_of(body, policy=policy).outcomes] == [""]


def test_exit_status_and_report_for_ci(tmp_path, capsys):
    """0, 1 and 2 tell a build what happened, and JSON tells programs."""
    assert main([str(tmp_path)]) == 2
    assert main([str(tmp_path / "absent")]) == 2
    assert "there is no" in capsys.readouterr().err
    (tmp_path / "policy.lua").write_text(POLICY)
    (tmp_path / "a.test.lua").write_text(HEAD + f"kumo.test.case('good', function(t) {MAIL} end)\n")
    assert main([str(tmp_path), "--coverage"]) == 0
    assert re.search(r"1 passed, 0 failed.*6 of +7.*not: 8\n85\.7 % of 7 lines", capsys.readouterr().out, re.DOTALL)
    assert main([str(tmp_path), "--min-coverage", "80"]) == 0
    assert main([str(tmp_path), "--min-coverage", "99"]) == 1
    assert "99 % of the lines have to run" in capsys.readouterr().err
    (tmp_path / "b_test.lua").write_text(HEAD + "kumo.test.case('bad', function(t) t:fail 'no' end)\n")
    capsys.readouterr()
    assert main([str(tmp_path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["passed"]) for one in told["tests"]] == [("good", True), ("bad", False)]
    assert told["tests"][1]["place"].endswith("b_test.lua:3")
    (coverage,) = told["coverage"].values()
    assert coverage == {"executable": 7, "covered": 6, "missing": [8]}
    assert main([str(tmp_path), "--filter", "good"]) == 0
    assert main([str(tmp_path), "-k", "none such"]) == 2
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--no-such-option"])


def test_reports_that_ci_systems_read(tmp_path, capsys):
    """JUnit XML has each case and what a failure said, LCOV each line and in how many cases it ran."""
    (tmp_path / "policy.lua").write_text(POLICY + "local more = require 'more'\n")
    (tmp_path / "more.lua").write_text("local function never()\n  return 1\nend\nreturn never\n")
    head = HEAD + f"kumo.test.case('good', function(t) {MAIL} end)\n"
    (tmp_path / "a_test.lua").write_text(head + "kumo.test.case('b < \\1', function(t) t:equal('\\1', '<') end)\n")
    junit, lcov = tmp_path / "junit.xml", tmp_path / "lines.info"
    assert main([str(tmp_path), "--junit", str(junit), "--lcov", str(lcov)]) == 1
    root = ElementTree.parse(junit).getroot()
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    good, bad = root.iter("testcase")
    assert (good.get("name"), good.find("failure")) == ("good", None)
    assert 'expected "<", got' in bad.find("failure").get("message")
    assert bad.find("failure").text.startswith(f"{tmp_path / 'a_test.lua'}:5: ")
    files = dict(re.findall(r"SF:.*/(.+)\n(?s:(.*?))end_of_record", lcov.read_text()))
    assert files["more.lua"] == "DA:1,2\nDA:2,0\nDA:4,2\nLF:3\nLH:2\n"
    assert "DA:8,0\n" in files["policy.lua"]
    assert "DA:10,1\n" in files["policy.lua"]
    assert main([str(tmp_path), "--junit", str(tmp_path / "no" / "x.xml")]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("loop", ["while true do t:advance '1 second' end", "while true do end"])
def test_a_case_that_runs_for_ever_is_stopped(tmp_path, capsys, loop):
    """It fails, and the run goes on."""
    (tmp_path / "policy.lua").write_text(POLICY)
    cases = f"kumo.test.case('bad', function(t) {loop} end) kumo.test.case('good', function(t) {MAIL} end)"
    (tmp_path / "a_test.lua").write_text(HEAD + cases)
    assert main([str(tmp_path), "--timeout", "0.5"]) == 1
    out = capsys.readouterr().out
    assert "1 passed, 1 failed" in out
    assert "was stopped" in out


def test_what_cannot_be_stopped_is_killed():
    """A case that hangs outside of Lua is named and ends the run, instead of holding a build up for ever."""
    code = (
        "import time\nfrom kumotwist.trial.policytest.watcher import Watcher\n"
        "with Watcher(0.3) as one:\n  one.note('a_test.lua: it hangs')\n  time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == -signal.SIGKILL
    assert "a_test.lua: it hangs: it hangs outside of Lua" in done.stderr


@pytest.mark.parametrize("loop", ["while true do end", "while true do pcall(function() while true do end end) end"])
def test_a_policy_that_loops_is_stopped(result_of, loop):
    """Counting lines takes nothing from the CPU budget: a loop is refused as in the daemon, and the run goes on."""
    policy = POLICY + f"kumo.on('smtp_server_message_received', function() {loop} end)"
    result = result_of("t:equal(t:smtp { from = 'a@example.com', to = 'b@example.org' }.code, 421)", policy=policy)
    assert [one.failure for one in result.outcomes] == [""]


def test_what_handlers_of_the_policy_wait_for(result_of):
    """Sleep moves the clock as far as needed and no farther; what never comes is told, not waited for."""
    policy = (
        POLICY + "kumo.on('smtp_server_message_received', function(m) kumo.sleep(tonumber(m:recipient().user)) end)"
    )
    result = result_of(
        "local at = t:now() t:smtp { from = 'a@example.com', to = '30@example.org' } t:equal(t:now() - at, 30)",
        "t:smtp { from = 'a@example.com', to = '1000@example.org' }",
        policy=policy,
    )
    assert [one.has_passed for one in result.outcomes] == [True, False]
    assert "did not answer" in failure_of(result).failure

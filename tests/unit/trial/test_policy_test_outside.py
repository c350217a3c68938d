"""The outside world of a policy under test: what the test says is answered, and nothing else is asked."""

import pytest

from kumotwist.trial.policytest.running import run

HEAD = """
local kumo = require 'kumo'
kumo.on('init', function()
  kumo.start_esmtp_listener { listen = '127.0.0.1:2525' }
end)
kumo.on('get_queue_config', function(domain)
  if domain == 'mail.example' then
    return kumo.make_queue_config {}
  end
  return kumo.make_queue_config { protocol = { custom_lua = { constructor = 'make' } } }
end)
kumo.on('make', function()
  return { send = function(_, msg) return 'ok' end }
end)
kumo.on('smtp_server_message_received', function(msg)
"""
MAIL = "t:smtp { from = 'a@example.com', to = 'b@example.org' }\n"
GET = "kumo.http.build_client {}:get('http://api.example/x?key=1'):timeout('10 seconds'):send()"


@pytest.fixture
def outcome_of(tmp_path):
    """What becomes of a test whose policy does `asked` with each message, before or behind `test`."""

    def run_it(asked, test, options="{}"):
        (tmp_path / "policy.lua").write_text(f"{HEAD}{asked}\nend)\n")
        (tmp_path / "a_test.lua").write_text(
            f"local kumo = require 'kumo'\nkumo.test.policy('policy.lua', {options})\n"
            f"kumo.test.case('it', function(t)\n{test}\nend)\n"
        )
        (one,) = run([tmp_path / "a_test.lua"]).outcomes
        return one

    return run_it


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (GET, "t:web('GET http://api.example/x', { status = 200 })"),
        ("kumo.dns.lookup_txt 'example.org'", "t:dns { ['example.org'] = { TXT = '...' } }"),
        ("kumo.dns.lookup_mx 'example.org'", "t:dns { ['example.org'] = { MX = '...' } }"),
        ("kumo.dns.lookup_addr '1.0.0.127.rbl.example'", "t:dns { ['1.0.0.127.rbl.example'] = { A = '...' } }"),
        ("kumo.secrets.load '/etc/hostname'", "t:secret('/etc/hostname', '...')"),
        ("kumo.secrets.load { env = 'HOME' }", "t:secret('HOME', '...')"),
        ("kumo.secrets.load { vault_mount = 'secret', vault_path = 'x' }", "t:secret('secret/x', '...')"),
    ],
)
def test_what_is_not_scripted_fails_the_test(outcome_of, asked, said):
    """Nobody outside is asked; the test fails even if the policy swallows the error, and says how to script it."""
    one = outcome_of(f"pcall(function() {asked} end)", f"pcall(function()\n{MAIL} end)\nlocal x = 1")
    assert said in one.failure
    assert "key=1" not in one.failure
    assert outcome_of(f"pcall(function() {asked} end)", f"\n{MAIL}").place.endswith("a_test.lua:5")


@pytest.mark.parametrize(
    ("source", "given", "value"),
    [
        ("{ vault_mount = 'secret', vault_path = 'a/b' }", "t:secret('secret/a/b', 'v')", "v"),
        ("{ vault_mount = 'secret', vault_path = 'a', vault_key = 'k' }", "t:secret('secret/a#k', 'v')", "v"),
        ("{ vault_mount = 'secret', vault_path = 'a', vault_key = 'k' }", "t:secret('secret/a', { k = 'v' })", "v"),
        ("{ vault_mount = 'secret', vault_path = 'a' }", "t:secret('secret/a', { k = 'v' })", "no key"),
        ("{ vault_mount = 'secret', vault_path = 'a' }", "t:secret('secret/a', { error = 'denied' })", "403"),
        ("{ vault_mount = 'secret', vault_path = 'a' }", "t:secret('secret/a', { error = 'down' })", "cannot connect"),
        (
            "{ vault_mount = 'secret', vault_path = 'a' }",
            "t:secret('secret/a', { error = 'missing' })",
            "no such secret",
        ),
        ("{ vault_mount = 'secret', vault_path = 'a' }", "t:secret('secret/a', { error = 'sealed' })", "sealed"),
        ("'/keys/x.pem'", "t:secret('/keys/x.pem', 'v')", "v"),
        ("{ env = 'GIVEN' }", "", "from the options"),
        ("{ env = 'GIVEN' }", "t:secret('GIVEN', 'v')", "v"),
        ("{ key_data = 'literal' }", "", "literal"),
        ("{ event_name = 'my_key', event_args = { 'x' } }", "", "key of x"),
        ("'/keys/early'", "", "early"),
    ],
)
def test_every_kind_of_key_source(outcome_of, source, given, value):
    """A secret comes from the test whatever its source, and so does the trouble with it."""
    one = outcome_of(
        f"local ok, v = pcall(kumo.secrets.load, {source}) msg:set_meta('v', tostring(v)) end)\n"
        "kumo.on('my_key', function(x) return 'key of ' .. x",
        f"{given}\n{MAIL}t:contains(t:messages()[1]:get_meta 'v', '{value}')",
        "{ env = { GIVEN = 'from the options' }, secrets = { ['/keys/early'] = 'early' } }",
    )
    assert one.failure == ""


@pytest.mark.parametrize("wrong", ["{}", "{ error = 'down', key = 'x' }", "true"])
def test_what_is_no_secret(outcome_of, wrong):
    """A mistake in the test is told where it is."""
    assert outcome_of("", f"t:secret('x', {wrong})").place.endswith("a_test.lua:4")


@pytest.mark.parametrize(
    ("given", "status", "body"),
    [
        ("t:web('http://api.example/', { status = 201, body = 'hi' })", 201, "hi"),
        ("t:web('GET http://api.example/', { json = { a = { 1, 2 } } })", 200, '{"a":[1,2]}'),
        ("t:web('http://', { status = 500 }) t:web('GET http://api', { status = 204 })", 204, ""),
        ("t:web('GET http://api', { status = 204 }) t:web('http://api', { status = 500 })", 204, ""),
        ("t:web('http://', function(r) return { body = r.method .. r.url } end)", 200, "GEThttp://api.example/x?key=1"),
        ("t:web('http://', { { status = 503 }, { status = 200 } })", 503, ""),
        ("t:web('http://', { status = 200, delay = '9 seconds' })", 200, ""),
    ],
)
def test_http_answers(outcome_of, given, status, body):
    """Method and URL say whose answer it is; the closest counts."""
    asked = f"local r = {GET} msg:set_meta('r', {{ r:status_code(), r:text() }})"
    one = outcome_of(asked, f"{given}\n{MAIL}t:equal(t:messages()[1]:get_meta 'r', {{ {status}, '{body}' }})")
    assert one.failure == ""


@pytest.mark.parametrize(
    ("given", "said", "seconds"),
    [
        ("{ error = 'connection refused' }", "connection refused", 0),
        ("{ error = 'timeout' }", "no reply within 10 s", 10),
        ("{ status = 200, delay = '20 seconds' }", "no reply within 10 s", 10),
    ],
)
def test_http_trouble(outcome_of, given, said, seconds):
    """A connection that fails and a server that is slow are the policy's to bear; time passes as it would."""
    one = outcome_of(
        f"local ok, r = pcall(function() {GET} end) msg:set_meta('r', tostring(r))",
        f"t:web('http://', {given}) local at = t:now()\n{MAIL}t:contains(t:messages()[1]:get_meta 'r', '{said}') "
        f"t:equal(t:now() - at, {seconds})",
    )
    assert one.failure == ""


@pytest.mark.parametrize(
    ("body", "said"), [("t:equal(r.method, 'PUT')", 'expected "PUT", got "GET"'), ("return 7", "must be a table")]
)
def test_a_server_of_the_test_that_fails(outcome_of, body, said):
    """It fails the test, whatever the policy makes of it."""
    assert (
        said in outcome_of(f"pcall(function() {GET} end)", f"t:web('http://', function(r) {body} end)\n{MAIL}").failure
    )


def test_requests_that_were_made(outcome_of):
    """Method, URL, headers and body of each, JSON read; by method and URL when asked for."""
    one = outcome_of(
        f"{GET} kumo.http.build_client {{}}:post('http://b.example/'):header('Content-Type', 'application/json')"
        ":body('{\"a\":1}'):send()",
        f"t:web('http://', {{ status = 200 }})\n{MAIL}t:equal(#t:requests(), 2)\n"
        "t:equal(t:requests('http://b.')[1].json, { a = 1 }) t:equal(#t:requests 'POST http://', 1)\n"
        "t:equal(t:requests 'PUT http://', {})",
    )
    assert one.failure == ""


def test_dns_by_name(outcome_of):
    """Records, failures and slowness by name; what is not there does not exist."""
    one = outcome_of(
        """local function try(f, ...) local ok, v = pcall(f, ...) return ok and v or tostring(v) end
        msg:set_meta('v', { try(kumo.dns.lookup_txt, 'x.example')[1], try(kumo.dns.lookup_addr, 'x.example')[1],
        try(kumo.dns.lookup_txt, 'bad.example'), try(kumo.dns.lookup_txt, 'none.example'),
        try(kumo.dns.lookup_mx, 'x.example').hosts[2], try(kumo.dns.lookup_txt, 'slow.example')[1],
        try(kumo.dns.lookup_txt, 'dead.example') })""",
        f"""t:dns {{
        ['x.example'] = {{ TXT = 'v=spf1 "a" -all', A = {{ '192.0.2.3' }}, MX = {{ '10 a.x.example', '20 b' }} }},
        ['bad.example'] = {{ fail = true }}, ['slow.example'] = {{ TXT = 'late', delay = '3 seconds' }},
        ['dead.example'] = {{ TXT = 'too late', delay = '1 minute' }},
        ['example.org'] = {{ MX = '10 mx.example.org' }}, ['mx.example.org'] = {{ A = '192.0.2.9' }} }}
        local at = t:now()\n{MAIL}
        local v = t:messages()[1]:get_meta 'v'
        t:equal(v[1], 'v=spf1 "a" -all') t:equal(v[2], '192.0.2.3') t:contains(v[3], 'server failure')
        t:contains(v[4], 'no such domain') t:equal(v[5], 'b.') t:equal(v[6], 'late') t:contains(v[7], 'no answer')
        t:equal(t:now() - at, 8)""",
    )
    assert one.failure == ""


def test_dns_of_mail_on_its_way(outcome_of):
    """Without names each domain takes its own mail; with them the MX decides, and a failing one makes mail wait."""
    mail = "t:smtp { from = 'a@example.com', to = 'b@mail.example' }\n"
    assert outcome_of("", f"{mail}t:equal(t:delivered()[1].site, 'mail.example')").failure == ""
    test = f"""t:dns {{ ['mail.example'] = {{ fail = true }} }}\n{mail}
        t:equal(t:queued(), 1) t:record('TransientFailure', {{ recipient = 'b@mail.example' }})
        t:dns {{ ['mail.example'] = {{ MX = '10 mx.example.org' }}, ['mx.example.org'] = {{ A = '192.0.2.9' }} }}
        t:advance '1 hour' t:equal(t:delivered()[1].site, 'mx.example.org') t:equal(t:queued(), 0)"""
    assert outcome_of("", test).failure == ""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{ ['x.example'] = { SRV = 'x' } }", "not 'SRV'"),
        ("{}", "must be a name"),
        ("'x.example. 60 MX'", "not a record"),
        ("{ ['x.example'] = { delay = 'soon' } }", "soon"),
    ],
)
def test_what_are_no_names(outcome_of, wrong, said):
    """A mistake in the test is told where it is."""
    one = outcome_of("", f"t:dns({wrong})")
    assert said in one.failure
    assert one.place.endswith("a_test.lua:4")


def test_what_the_policy_finds_when_it_is_loaded(outcome_of):
    """Options of the file stand before the policy is loaded."""
    one = outcome_of(
        f"end)\nlocal r = {GET}\nlocal x = kumo.dns.lookup_txt('x.example')[1] .. r:text()\n"
        "kumo.on('http_message_generated', function() return x",
        MAIL,
        "{ web = { ['http://api.example/'] = { body = 'hi' } }, dns = { ['x.example'] = { TXT = 'v' } } }",
    )
    assert one.failure == ""


def test_what_one_case_finds(outcome_of, tmp_path):
    """Options of a case go before those of its file, and end with it."""
    outcome_of("msg:set_meta('e', os.getenv 'A' .. os.getenv 'B')", "")
    (tmp_path / "b_test.lua").write_text(
        "local kumo = require 'kumo'\n"
        "kumo.test.policy('policy.lua', { env = { A = '1', B = '2' }, now = '2026-03-01T12:00:00Z' })\n"
        f"local function case(t) {MAIL} return t:messages()[1]:get_meta 'e', t:now() end\n"
        "kumo.test.case('own', { env = { B = '3' }, now = '2027-01-01T00:00:00Z' }, function(t)\n"
        "  local e, now = case(t) t:equal(e, '13') t:equal(now, 1798761600)\nend)\n"
        "kumo.test.case('of the file', function(t) local e, now = case(t) t:equal(e, '12') end)\n"
    )
    assert [one.failure for one in run([tmp_path / "b_test.lua"]).outcomes] == ["", ""]
    (tmp_path / "c_test.lua").write_text("local kumo = require 'kumo'\nkumo.test.case('early', function() end)\n")
    (early,) = run([tmp_path / "c_test.lua"]).outcomes
    assert "kumo.test.policy comes before" in early.failure


@pytest.mark.parametrize("url", ["api.example/x", "htps://api.example", "post https://api.example/", "GET /x"])
def test_an_http_answer_that_no_url_can_have_is_refused(outcome_of, url):
    """Where it is written, before anything is asked."""
    one = outcome_of("", f"\nt:web('{url}', {{ status = 200 }})")
    assert f"no URL begins with '{url}'; write it like 'https://api.example/'" in one.failure
    assert one.place.endswith("a_test.lua:5")


@pytest.mark.parametrize(
    ("asked", "test", "said"),
    [
        (GET, "t:web('http://api.exmaple/x', { status = 200 })", "did you mean 'http://api.exmaple/x'?"),
        (
            "kumo.secrets.load { vault_mount = 'secret', vault_path = 'sendgrid' }",
            "t:secret('secret/sengrid', 'x')",
            "did you mean 'secret/sengrid'?",
        ),
    ],
)
def test_what_is_nearly_scripted_is_named(outcome_of, asked, test, said):
    """A misspelt URL or secret is shown beside the one that was asked for."""
    assert said in outcome_of(f"pcall(function() {asked} end)", f"{test}\n{MAIL}").failure


def test_a_misspelt_dns_name_is_shown_with_the_failure(outcome_of):
    """A name that does not exist may be meant so; when the test fails, the nearest one that does is shown."""
    test = f"t:dns {{ ['rbl.exmaple.org'] = {{ A = '127.0.0.2' }} }}\n{MAIL}t:equal(#t:delivered(), 2)"
    one = outcome_of("kumo.dns.lookup_addr 'rbl.example.org'", test)
    assert any("rbl.example.org, which the test's names do not have; did you mean 'rbl.exmaple.org'?" in line
               for line in one.log)  # fmt: skip

"""Routes, receipts and clients in a test of a policy: what a user scripts happens, and what came of it can be asked."""

import pytest
from support.reports import bounce_of, complaint_about

from kumotwist.trial.policytest.running import run

POLICY = """
local kumo = require 'kumo'
kumo.on('init', function()
  kumo.start_esmtp_listener { listen = '127.0.0.1:2525', relay_hosts = { '127.0.0.1' } }
  kumo.start_http_listener { listen = '127.0.0.1:8000', trusted_hosts = { '127.0.0.1' } }
  kumo.configure_log_hook { name = 'feed', per_record = { Receipt = {}, Any = { enable = false } } }
end)
kumo.on('should_enqueue_log_record', function(msg)
  if msg:get_meta 'queue' == 'feed.log_hook' then return false end
  msg:set_meta('queue', 'feed.log_hook')
  return true
end)
kumo.on('get_queue_config', function(domain)
  if domain == 'feed.log_hook' then
    return kumo.make_queue_config { protocol = { webhook = { url = 'http://127.0.0.1:9/' } } }
  elseif domain == 'mail.example' then
    return kumo.make_queue_config {}
  end
  return kumo.make_queue_config { route_table = 'bulk', retry_interval = '1 minute' }
end)
kumo.on('get_route_table', function(name)
  return kumo.make_route_table {
    name = name,
    routes = {
      { name = 'one', weight = 50, protocol = { sendgrid = { api_key = '/k', base_url = 'https://one.example' } } },
      { name = 'two', weight = 50, protocol = { sendgrid = { api_key = '/k', base_url = 'https://two.example' } } },
    },
    learn = { min_samples = 20, receipt_within = '5 minutes' },
    on_failure = 'next_route',
  }
end)
kumo.on('get_listener_domain', function(_, _, conn)
  return conn:get_meta 'authn_id' and kumo.make_listener_domain { relay_to = true }
end)
kumo.on('smtp_server_auth_plain', function(_, user, password)
  return user == 'ann' and password == 'sesame'
end)
kumo.on('smtp_server_message_received', function(msg)
  msg:set_meta('who', msg:get_meta 'authn_id')
  msg:set_meta('from_ip', msg:get_meta 'received_from')
end)
kumo.on('http_server_validate_auth_basic', function(user, password)
  return user == 'app' and password == 'open'
end)
"""
HEAD = """local kumo = require 'kumo'
kumo.test.policy 'policy.lua'
local function mail(t, count, to)
  for n = 1, count or 1 do t:smtp { from = 'a@example.com', to = to or ('u' .. n .. '@example.org') } end
end
kumo.test.case('it', function(t)
"""


@pytest.fixture
def failure_of(tmp_path):
    """Why a case with this body fails, "" when it passes."""

    def run_it(body):
        (tmp_path / "policy.lua").write_text(POLICY)
        (tmp_path / "a_test.lua").write_text(f"{HEAD}{body}\nend)\n")
        (one,) = run([tmp_path / "a_test.lua"]).outcomes
        return one.failure

    return run_it


@pytest.mark.parametrize("whom", ["one", "bulk/one", "one.example"])
@pytest.mark.parametrize(
    ("answer", "elsewhere"),
    [
        ("{ 451, '4.3.0 later' }", True),
        ("{ 'account', 'no credit' }", True),
        ("{ 'throttled', '30 seconds' }", True),
        ("{ 'unreachable' }", True),
        ("{ 'timeout' }", False),
        ("{ 550, '5.7.1 no' }", False),
    ],
)
def test_routes_are_scripted_by_name(failure_of, whom, answer, elsewhere):
    """A route is told by its name even if another speaks the same protocol; what may go on elsewhere does."""
    body = f"t:answer('{whom}', {answer}) mail(t, 2)\nt:equal(t:routes(), {{ two = {2 if elsewhere else 1} }})"
    assert failure_of(body) == ""


def test_hops_of_a_message(failure_of):
    """Each attempt has its route, and those of one message stand in their order."""
    body = """t:answer('one', { 'unreachable' }) t:answer('two', { { 451, 'no' }, { 250, 'ok' } })
    mail(t) t:advance '2 minutes'
    t:equal(#t:delivered(), 1)
    local hops = t:hops(t:delivered()[1])
    t:equal(hops[#hops], 'two') t:contains(hops, 'one')
    t:equal(t:hops(t:messages()[1]), hops) t:equal(t:hops(t:record('Delivery').id), hops)
    local last = t:delivered()[1]
    t:equal(last.route, 'two') t:equal(last.table, 'bulk') t:equal(last.class, 'example.org')"""
    assert failure_of(body) == ""


def test_shares_and_breakers(failure_of):
    """A table tells how its routes stand, while they die, and when they are back."""
    body = """t:down('one', '10 minutes') mail(t, 50)
    t:equal(t:routes(), { two = 50 })
    local at = t:table 'bulk'
    t:equal(at.one.breaker, 'open') t:equal(at.two.breaker, 'closed') t:equal(at.one.rest, 0.5)
    t:is_true(at.one.share < 0.1) t:is_true(at.one.health < 0.5)
    t:record('RouteChange', { route = 'one', route_change = { what = 'breaker', after = 'open' } })
    t:advance '11 minutes'
    for _ = 1, 60 do mail(t, 20) t:advance '1 minute' end
    t:is_true(t:table('bulk').one.share > 0.4, 'its share')
    t:equal(t:table('bulk').one.breaker, 'closed')"""
    assert failure_of(body) == ""
    assert "no message has gone by the route table 'other'" in failure_of("t:table 'other'")


def test_a_slow_route(failure_of):
    """It answers after its time on the pretended clock."""
    body = """t:slow('one', '30 seconds') t:slow('two', '30 seconds') mail(t)
    t:equal(#t:delivered(), 0) t:advance '29 seconds' t:equal(#t:delivered(), 0)
    t:advance '1 second' t:equal(#t:delivered(), 1)"""
    assert failure_of(body) == ""


def test_expectations_in_an_answer_count(failure_of):
    """What a function that answers expects in vain fails the test, and is no trouble of the channel's."""
    body = "t:answer('one', function(m) t:equal(m:recipient().email, '%s') return { 250, 'ok' } end) mail(t, 2)"
    assert 'expected "x@example.org", got "u' in failure_of(body % "x@example.org")
    assert "an answer" in failure_of("t:answer('one', function() return 7 end) mail(t, 2)")
    assert failure_of("t:answer('one', function(m) t:is_true(m:recipient()) return { 250, 'ok' } end) mail(t, 2)") == ""


def test_one_recipient_of_many(failure_of):
    """A recipient may be answered for by address: the others of the same message go."""
    body = """t:answer('b@mail.example', { 550, '5.1.1 unknown' })
    t:smtp { from = 'a@example.com', to = { 'b@mail.example', 'c@mail.example' } }
    t:record('Bounce', { recipient = 'b@mail.example' }) t:record('Delivery', { recipient = 'c@mail.example' })"""
    assert failure_of(body) == ""


OWN_CODE = """
local kumo = require 'kumo'
kumo.on('init', function() kumo.start_esmtp_listener { listen = '127.0.0.1:2525' } end)
kumo.on('get_queue_config', function()
  return kumo.make_queue_config { route_table = 't', retry_interval = '5 minutes' }
end)
kumo.on('get_route_table', function(name)
  return kumo.make_route_table {
    name = name,
    on_failure = 'next_route',
    routes = {
      { name = 'hook', weight = 1, protocol = { custom_lua = { constructor = 'make' } } },
      { name = 'relay', weight = 0, protocol = { smtp = { mx_list = { 'relay.example' } } } },
    },
  }
end)
kumo.on('make', function()
  local client = kumo.http.build_client {}
  return { send = function() return client:post('http://hook.example/'):send():text() end }
end)
"""
ONE = "t:smtp { from = 'a@b.c', to = 'x@y.org' } "


@pytest.mark.parametrize(
    "body",
    [
        "t:answer('hook', { 250, 'scripted' }) %s t:equal(t:delivered()[1].text, 'scripted')",
        "t:answer('t/hook', { 250, 'scripted' }) %s t:equal(t:delivered()[1].text, 'scripted')",
        "t:answer('x@y.org', { 250, 'scripted' }) %s t:equal(t:delivered()[1].text, 'scripted')",
        "t:down('hook', '10 minutes') %s t:equal(t:delivered()[1].route, 'relay')",
        "t:down('x@y.org', '4 minutes') t:web('http://hook.example/', { body = 'real' }) %s t:equal(t:delivered(), {}) "
        "t:advance '6 minutes' t:equal(t:delivered()[1].text, 'real')",
        "t:slow('hook', '3 seconds') t:web('http://hook.example/', { body = 'real' }) %s t:equal(t:delivered(), {}) "
        "t:advance '3 seconds' t:equal(t:delivered()[1].text, 'real')",
        "t:slow('x@y.org', '3 seconds') t:web('http://hook.example/', { body = 'real' }) %s t:equal(t:delivered(), {}) "
        "t:advance '3 seconds' t:equal(t:delivered()[1].text, 'real')",
        "t:down('custom_lua', '2 minutes') t:web('http://hook.example/', { body = 'real' }) %s "
        "t:equal(t:delivered()[1].route, 'relay') t:advance '20 minutes' %s t:equal(t:delivered()[2].text, 'real')",
        "t:answer('relay', { 550, 'no' }) t:web('http://hook.example/', { body = 'real' }) %s "
        "t:equal(t:delivered()[1].text, 'real')",
    ],
)
def test_code_of_the_policy_is_spoken_for_by_route_and_recipient(tmp_path, body):
    """A webhook in Lua is scripted, down or slow as any channel is; unless it is spoken for, the code really runs."""
    (tmp_path / "policy.lua").write_text(OWN_CODE)
    body = body.replace("%s", ONE)
    (tmp_path / "a_test.lua").write_text(
        f"local kumo = require 'kumo'\nkumo.test.policy 'policy.lua'\nkumo.test.case('it', function(t) {body} end)\n"
    )
    (one,) = run([tmp_path / "a_test.lua"]).outcomes
    assert one.failure == ""


def test_receipts_become_records_and_are_learned_from(failure_of):
    """What a provider reports is tied to the message, told to log hooks, and moves the share of its route."""
    body = """mail(t, 100)
    t:receipt('u1@example.org', { state = 'failed', class = 'block', text = 'spam', facts = { Code = '7' } })
    local record = t:record('Receipt', { recipient = 'u1@example.org' })
    t:equal(record.receipt.state, 'failed') t:equal(record.receipt.class, 'block') t:equal(record.receipt.text, 'spam')
    t:equal(record.id, t:delivered()[1].id) t:equal(record.route, t:delivered()[1].route)
    t:advance '5 seconds'
    local feed = t:delivered()[#t:delivered()]
    t:equal(feed.channel, 'webhook') t:equal(feed.meta.log_record.type, 'Receipt')
    for _, one in ipairs(t:delivered()) do
      if one.route then t:receipt(one, one.route == 'one' and { state = 'failed', class = 'block' } or 'delivered') end
    end
    t:advance '5 seconds'
    t:is_true(t:table('bulk').one.share < 0.2, 'share')
    t:receipt(t:messages()[2], 'opened')
    t:record('Receipt', { receipt = { state = 'opened' } })"""
    assert failure_of(body) == ""


def test_receipts_that_do_not_come_are_learned_from(failure_of):
    """A provider whose receipts fail to come loses its share, once they are overdue on the pretended clock."""
    body = """mail(t, 200)
    local ones = 0
    for _, sent in ipairs(t:delivered()) do
      ones = ones + (sent.route == 'one' and 1 or 0)
      if sent.route == 'two' or ones % 4 == 0 then t:receipt(sent, 'delivered') end
    end
    t:is_true(t:table('bulk').one.share > 0.4, 'share while nothing is overdue')
    t:advance '6 minutes'
    t:is_true(t:table('bulk').one.share < 0.2, 'share of a route without receipts')"""
    assert failure_of(body) == ""


def test_the_same_event_twice_is_one(failure_of):
    """As providers that call again do."""
    body = """mail(t) for _ = 1, 2 do t:receipt('u1@example.org', { state = 'opened', event_id = 'e1' }) end
    t:equal(#t:records 'Receipt', 1)"""
    assert failure_of(body) == ""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("t:receipt('x@example.org', 'delivered')", "nothing has been delivered to x@example.org"),
        ("mail(t, 1, 'x@mail.example') t:receipt('x@mail.example', 'delivered')", "no receipts come of what smtp"),
        ("mail(t) t:receipt('u1@example.org', 'lost')", "state of a receipt is one of accepted, deferred, delivered"),
        ("mail(t) t:receipt('u1@example.org', { state = 'failed', class = 'bad' })", "class of a receipt is one of"),
        ("mail(t) t:receipt('u1@example.org', { status = 'failed' })", "not 'status'"),
    ],
)
def test_receipts_that_cannot_come(failure_of, body, said):
    """The test is told why."""
    assert said in failure_of(body)


def test_records_by_field(failure_of):
    """A record is asked for by type and fields; when there is none, those that there are are shown."""
    assert (
        failure_of(
            "mail(t) t:equal(t:record('Reception', { meta = { from_ip = '127.0.0.1:50000' } }).type, 'Reception')"
        )
        == ""
    )
    assert failure_of("mail(t) t:equal(#t:records(nil, { sender = 'a@example.com' }), 2)") == ""
    said = failure_of("mail(t) t:record('Delivery', { route = 'none' })")
    assert 'expected a Delivery record with {"route":"none"}' in said
    assert '"recipient":"u1@example.org"' in said
    assert "none of that type" in failure_of("t:record 'Bounce'")


def test_clients_that_prove_who_they_are(failure_of):
    """AUTH under TLS by SMTP, Basic by HTTP, from any address; a wrong password is a result."""
    body = """
    local reply = t:smtp { from = 'a@example.com', to = 'b@mail.example', peer = '192.0.2.7',
      auth = { user = 'ann', password = 'sesame' } }
    t:equal(reply.code, 250) t:equal(t:messages()[1]:get_meta 'who', 'ann')
    reply = t:smtp { from = 'a@example.com', to = 'b@mail.example', auth = { user = 'ann', password = 'x' } }
    t:equal(reply.stage, 'auth') t:equal(reply.code, 535)
    t:equal(t:smtp { from = 'a@example.com', to = 'b@mail.example', peer = '192.0.2.7' }.stage, 'rcpt_to')
    t:equal(t:smtp({ from = 'a@example.com', to = 'b@mail.example', tls = true }).code, 250)
    local to = { { email = 'b@mail.example' } }
    local request = { envelope_sender = 'a@example.com', content = 'A: b', recipients = to }
    t:equal(t:http(request).code, 200)
    t:equal(t:http(request, '192.0.2.7').code, 401)
    t:equal(t:http(request, { peer = '192.0.2.7', auth = { user = 'app', password = 'no' } }).code, 401)
    local answer = t:http(request, { peer = '192.0.2.7', auth = { user = 'app', password = 'open' } })
    t:equal(answer.error, nil) t:equal(answer.success_count, 1)
    local sent = { to = to, from = { email = 'a@example.com' }, text = 'x' }
    t:equal(t:send(sent, '192.0.2.7').code, 401)
    """
    assert failure_of(body) == ""
    assert "there is no number 2" in failure_of("t:http({}, { listener = 2 })")
    assert "not 'address'" in failure_of("t:http({}, { address = '192.0.2.7' })")


@pytest.mark.parametrize("call", ["answer('%s', { 550, 'no' })", "down('%s', '1 hour')", "slow('%s', '1 second')"])
@pytest.mark.parametrize(
    ("whom", "meant"),
    [
        ("nosuch", ""),
        ("oone", "; did you mean 'one'?"),
        ("bulk/tow", "; did you mean 'bulk/two'?"),
        ("sengrid", "; did you mean 'sendgrid'?"),
        ("exmaple.org", "; did you mean 'example.org'?"),
    ],
)
def test_an_answer_for_nobody_fails_the_test(failure_of, call, whom, meant):
    """A typing error in the name of a route is told with file and line, not taken for a test that passes."""
    said = failure_of(f"-- first\nt:{call % whom} mail(t, 2)")
    assert said == (
        f"t:{call.partition('(')[0]} is for '{whom}', and nothing in this test is called so: no route, protocol, "
        f"recipient, domain, queue, site or source{meant} (routes were bulk/one, bulk/two)"
    )


def test_where_an_answer_for_nobody_stands(tmp_path):
    """The line is the one of `t:answer`, also in a helper, and each name is told once."""
    (tmp_path / "policy.lua").write_text(POLICY)
    helper = "local function broken(t)\n  t:answer('nosuch', { 550, 'no' })\nend\n"
    (tmp_path / "a_test.lua").write_text(f"{helper}{HEAD}broken(t) broken(t)\nt:down('other', 5)\nend)\n")
    (one,) = run([tmp_path / "a_test.lua"]).outcomes
    assert one.place.endswith("a_test.lua:2")
    first, second = one.failure.splitlines()
    assert "t:answer is for 'nosuch'" in first
    assert "a_test.lua:11: t:down is for 'other'" in second


@pytest.mark.parametrize(
    "body",
    [
        "t:answer('bulk/one', { 250, 'ok' }) t:answer('two', { 250, 'ok' }) mail(t)",
        "t:answer('postmark', { 550, 'no' }) t:answer('smtp', { 550, 'no' })",
        "t:answer('x@mail.example', { 550, 'no' }) t:down('mail.example', 5) mail(t, 1, 'x@mail.example')",
        "t:answer('u1@example.org', { 550, 'no' }) t:down('example.org', 5) t:slow('unspecified', 1) mail(t)",
        "t:answer('one.example', { 250, 'ok' }) t:slow('unspecified->one.example@sendgrid', 1) mail(t, 2)",
    ],
)
def test_names_that_turn_up_later_are_right(failure_of, body):
    """Routes of tables that are made when the first message comes, protocols, recipients, queues, sites, sources."""
    assert failure_of(body) == ""


def test_stages_that_no_message_came_to_are_known(tmp_path):
    """An unused answer of a fallback's later stage is right; a name that even that stage does not have is not."""
    policy = POLICY.replace(
        "return kumo.make_route_table {\n    name = name,",
        "local stages = name == 'bulk' and { { route_table = 'text' } } or {}\n"
        "  local prefix = name == 'text' and 'sms_' or ''\n"
        "  return kumo.make_route_table {\n    name = name, fallback = stages,",
    ).replace("name = 'one'", "name = prefix .. 'one'")
    assert policy.count("prefix") == 2
    (tmp_path / "policy.lua").write_text(policy)
    answers = "t:answer('sms_one', { 550, 'no' })\nt:answer('text/two', { 550, 'no' })\n"
    wrong = "t:answer('sms_tow', { 550, 'no' })\n"
    (tmp_path / "a_test.lua").write_text(f"{HEAD}{answers}mail(t)\nend)\n")
    (tmp_path / "b_test.lua").write_text(f"{HEAD}{answers}{wrong}mail(t)\nend)\n")
    right, mistaken = run([tmp_path / "a_test.lua", tmp_path / "b_test.lua"]).outcomes
    assert right.failure == ""
    assert "t:answer is for 'sms_tow'" in mistaken.failure
    assert "did you mean 'sms_one'?" in mistaken.failure


MAILED = """
local kumo = require 'kumo'
kumo.on('init', function() kumo.start_esmtp_listener { listen = '127.0.0.1:2525' } end)
kumo.on('get_listener_domain', function(domain)
  if domain == 'src.test' then return kumo.make_listener_domain { log_oob = 'LogThenDrop', log_arf = 'LogThenDrop' } end
  return kumo.make_listener_domain { relay_to = true }
end)
kumo.on('get_queue_config', function() return kumo.make_queue_config { route_table = 'bulk' } end)
kumo.on('get_route_table', function(name)
  local sg = { sendgrid = { api_key = { key_data = 'k' } } }
  local routes = { { name = 'sg', weight = 50, protocol = sg }, { name = 'mx', weight = 50 } }
  return kumo.make_route_table { name = name, routes = routes }
end)
"""


@pytest.mark.parametrize(
    ("report", "record", "share"),
    [
        ("bounce_of('5.7.1', '550 5.7.1 blocked')", "OOB", "share < 0.05"),
        ("bounce_of('5.1.1', '550 5.1.1 unknown user')", "OOB", "share == 0.5"),
        ("complaint", "Feedback", "share < 0.05"),
    ],
)
def test_bounces_and_complaints_by_mail_count_for_the_route(tmp_path, report, record, share):
    """It is tied to the way by which the mail went: blocks and complaints move the share, unknown users do not."""
    (tmp_path / "policy.lua").write_text(MAILED)
    bounce = bounce_of("ORIGINAL", "TO", "STATUS", "REPLY")
    templates = f"local bounce = [==[{bounce}]==]\nlocal complaint = [==[{complaint_about('ORIGINAL')}]==]\n"
    body = (
        """local function put(text, name, value) return (text:gsub(name, function() return value end)) end
    local function bounce_of(status, reply) return put(put(bounce, 'STATUS', status), 'REPLY', reply) end
    kumo.test.case('it', function(t)
      local function mail(from, to)
        for n = from, to do t:smtp { from = 'n@src.test', to = 'u' .. n .. '@x.test' } end
      end
      mail(1, 200)
      for _, one in ipairs(t:delivered()) do
        if one.route == 'mx' then
          local text = put(put(REPORT, 'TO', one.to[1]), 'ORIGINAL', one.message:get_data())
          t:smtp { from = '', to = 'n@src.test', data = (text:gsub('\\r?\\n', '\\r\\n')) }
        end
      end
      t:record('RECORD', { route_table = 'bulk', route = 'mx', route_class = 'x.test' })
      t:advance '5 seconds' mail(201, 210)
      local share = t:table('bulk', 'x.test').mx.share
      t:is_true(SHARE, 'a share of ' .. share)
    end)
    """.replace("REPORT", report)
        .replace("RECORD", record)
        .replace("SHARE", share)
    )
    head = "local kumo = require 'kumo'\nkumo.test.policy 'policy.lua'\n"
    (tmp_path / "a_test.lua").write_text(f"{head}{templates}{body}")
    (one,) = run([tmp_path / "a_test.lua"]).outcomes
    assert one.failure == ""

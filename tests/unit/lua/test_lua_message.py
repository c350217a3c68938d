"""The message, addresses and connection metadata as policies use them."""

from __future__ import annotations

import pytest
from support.lua import Bench, now
from twisted.internet.defer import Deferred

from kumotwist.core.connection import AuthInfo, ConnectionMeta, Identity
from kumotwist.core.errors import PolicyError
from kumotwist.core.message import Message
from kumotwist.core.schedule import parse_rfc3339

HEADERS = (
    b"Received: one\r\nReceived: two\r\nX-Tenant: first\r\nX-TENANT: last\r\nX-Camp-Id: c1\r\n"
    b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n folded\r\nFrom: Ann <ann@example.com>\r\n"
    b'To: "Bob B" <bob@example.org>, carl@example.net\r\nX-Schedule: {"first_attempt": "2030-01-01T00:00:00Z"}\r\n'
    b"\r\nbody \xff\r\n"
)


def _run(bench: Bench, message: Message, source: str, conn: ConnectionMeta | None = None) -> object:
    policy = bench.policy(f"kumo.on('go', function(msg, conn)\n{source}\nend)")
    return now(policy.run_event("go", [message, conn or ConnectionMeta()]))


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("return msg:get_first_named_header_value 'x-tenant'", "first"),
        ("return msg:get_first_named_header_value('Subject')", "grüße folded"),
        ("return msg:get_first_named_header_value 'none'", None),
        ("return msg:get_all_named_header_values 'RECEIVED'", ["one", "two"]),
        ("return msg:get_all_headers()[1]", ["Received", "one"]),
        ("return msg:from_header().email .. msg:from_header().name", "ann@example.comAnn"),
        ("return tostring(pcall(function() return msg:to_header().user end))", "false"),
        ("local l = msg:to_header().list return l[1].name .. ' ' .. l[2].domain", "Bob B example.net"),
        ("return tostring(msg:to_header().list[1])", '{"name":"Bob B","address":"bob@example.org"}'),
        ("return msg:get_address_header 'Cc'", None),
        ("return msg:get_data():sub(-3, -3):byte()", 255),
        ("return tostring(msg:sender()) .. ' ' .. msg:sender().user .. ' ' .. msg:sender().domain", None),
        ("return msg:recipient().email", "bob@example.org"),
        ("return #msg:recipient_list()", 1),
        ("return msg:queue_name()", "example.org"),
        ("return msg:num_attempts()", 0),
        ("return #msg:id()", 32),
        ("return msg:sender() == msg:sender() and msg:sender() ~= msg:recipient()", True),
    ],
)
def test_reading(bench: Bench, source: str, result: object) -> None:
    """What a message says of itself."""
    expected = "ann@example.com ann example.com" if "sender()) .. ' '" in source else result
    assert _run(bench, bench.message(HEADERS), source) == expected


def test_metadata_round_trip(bench: Bench) -> None:
    """Any JSON value is kept and read back; nil reads back as nil; functions and objects are refused."""
    message = bench.message()
    source = """
      msg:set_meta('a', { list = { 1, 2, { x = true } }, text = 'grüße' })
      msg:set_meta('gone', nil)
      msg:set_meta('tenant', 'acme')
      assert(not pcall(msg.set_meta, msg, 'f', print))
      assert(not pcall(msg.set_meta, msg, 'f', msg))
      assert(msg:get_meta 'gone' == nil and msg:get_meta 'never' == nil)
      return msg:get_meta('a').list[3].x, msg:queue_name()
    """
    policy = bench.policy(f"kumo.on('go', function(msg)\n{source}\nend)")
    assert now(policy.program.run("go", message)) == [True, "acme@example.org"]
    assert message.meta == {"a": {"list": [1, 2, {"x": True}], "text": "grüße"}, "gone": None, "tenant": "acme"}
    assert message.is_meta_dirty


def test_editing_headers(bench: Bench) -> None:
    """Headers are put in and taken out of the bytes, and the rest stays as it is."""
    message = bench.message(HEADERS)
    source = """
      msg:remove_x_headers { 'x-tenant' }
      msg:remove_all_named_headers 'received'
      msg:prepend_header('X-First', 'grüße', true)
      msg:append_header('X-Last', 'plain')
      assert(not pcall(msg.prepend_header, msg, 'X-Evil', 'a\\r\\nBcc: b'))
      assert(not pcall(msg.append_header, msg, 'X Evil', 'a'))
    """
    _run(bench, message, source)
    assert message.body is not None
    assert message.body.startswith(b"X-First: =?UTF-8?")
    assert b"X-Last: plain\r\n\r\nbody \xff\r\n" in message.body
    assert b"Tenant" not in message.body
    assert b"TENANT" not in message.body
    assert b"Received" not in message.body
    assert message.is_body_dirty
    _run(bench, message, "msg:remove_x_headers()")
    assert b"\r\nX-" not in message.body
    _run(bench, message, "msg:set_data('a\\0b\\255')")
    assert message.body == b"a\0b\xff"


def test_importing_headers(bench: Bench) -> None:
    """import_x_headers takes the last instance under a snake case name; import_headers as its specs say."""
    message = bench.message(HEADERS)
    _run(bench, message, "msg:import_x_headers { 'x-tenant' }")
    assert message.meta == {"x_tenant": "last"}
    message = bench.message(HEADERS)
    _run(bench, message, "msg:import_x_headers()")
    assert set(message.meta) == {"x_tenant", "x_camp_id", "x_schedule"}
    message = bench.message(HEADERS)
    source = """
      msg:import_headers {
        { name = 'Received', match = 'all' },
        { name = 'X-Tenant', match = 'first', target = 'who', remove = true },
        { name = 'X-*', transform = 'camel_case' },
      }
      assert(not pcall(msg.import_headers, msg, { { name = '*' } }))
      assert(not pcall(msg.import_headers, msg, { { name = 'X-*', target = 'a' } }))
    """
    _run(bench, message, source)
    assert message.meta["received"] == ["one", "two"]
    assert message.meta["who"] == "first"
    assert message.meta["xCampId"] == "c1"
    assert message.body is not None
    assert b"X-Tenant" not in message.body


def test_scheduling(bench: Bench) -> None:
    """Constraints come from the policy or from a header, move the due time, and can be lifted."""
    message = bench.message(HEADERS)
    result = _run(bench, message, "return msg:import_scheduling_header('X-Schedule', true)")
    assert result == {"first_attempt": "2030-01-01T00:00:00Z"}
    assert message.due == parse_rfc3339("2030-01-01T00:00:00Z")
    assert message.body is not None
    assert b"X-Schedule" not in message.body
    assert _run(bench, message, "return msg:import_scheduling_header('X-Schedule', true)") is None
    _run(bench, message, "msg:set_scheduling(nil)")
    assert message.schedule is None
    _run(bench, message, "msg:set_due '2031-01-01T00:00:00Z'")
    assert message.due == parse_rfc3339("2031-01-01T00:00:00Z")
    _run(bench, message, "msg:set_due(nil)")
    assert message.due == bench.clock.seconds()
    with pytest.raises(PolicyError, match="go together"):
        _run(bench, message, "msg:set_scheduling { dow = 'Mon' }")


def test_envelope(bench: Bench) -> None:
    """Sender and recipients take texts, addresses and lists; wrong ones are refused."""
    message = bench.message()
    source = """
      msg:set_sender ''
      msg:set_recipient { 'a@x.example', msg:recipient() }
      assert(not pcall(msg.set_recipient, msg, 'no mailbox'))
      assert(type(msg:recipient()) == 'table' and #msg:recipient() == 2)
      return tostring(msg:sender())
    """
    assert _run(bench, message, source) == ""
    assert [str(one) for one in message.recipients] == ["a@x.example", "bob@example.org"]


def test_a_body_in_the_spool_is_loaded_when_it_is_asked_for(bench: Bench) -> None:
    """A handler for a message that waits on disk may read and edit it as any other."""
    message = bench.message(HEADERS)
    now(bench.store.save([message]))
    message.body = None
    assert _run(bench, message, "return msg:get_first_named_header_value 'x-tenant'") == "first"
    message.body = None
    _run(bench, message, "msg:prepend_header('X-A', 'b') msg:save()")
    assert message.body is not None
    assert message.body.startswith(b"X-A: b\r\nReceived")
    assert message.is_spooled


def test_connection_metadata(bench: Bench) -> None:
    """conn_meta keeps what policy sets, and tells who is at the other end."""
    conn = ConnectionMeta({"received_from": "10.0.0.1:25"}, AuthInfo("10.0.0.1", (Identity("ann", "x"),), ("g",)))
    source = """
      conn:set_meta('x_class', { 1 })
      return conn:get_meta('received_from') .. conn:auth_info().identities[1].identity .. conn:auth_info().groups[1]
    """
    assert _run(bench, bench.message(), source, conn) == "10.0.0.1:25anng"
    assert conn.meta["x_class"] == [1]


def test_made_and_injected(bench: Bench) -> None:
    """A policy makes messages of its own and injects them."""
    source = """
      kumo.on('go', function()
        local m = kumo.make_message('a@example.com', 'b@example.com', 'Subject: x\\r\\n\\r\\n\\255')
        m:set_meta('x', 1)
        kumo.apply_supplemental_trace_header(m, { include_meta_names = { 'x' } })
        kumo.inject_message(m)
      end)
    """
    work = Deferred.fromCoroutine(bench.policy(source).run_event("go"))
    assert work.called
    (message,) = bench.injected.messages
    assert str(message.recipients[0]) == "b@example.com"
    assert message.body is not None
    assert message.body.startswith(b"X-KumoRef: ")
    assert message.body.endswith(b"\xff")

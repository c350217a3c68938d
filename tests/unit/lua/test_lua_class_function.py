"""`class = function(msg) ... end` in a route table: a function of policy that Python holds and asks again and again."""

import gc
import re
import weakref

import attrs
import pytest
from support.lua import Bench, now
from twisted.internet.defer import Deferred

from kumotwist.config.routes import ClassFunction
from kumotwist.core.errors import PolicyError
from kumotwist.queue.classes import Classes

TABLE = """
kumo.on('get_route_table', function(name)
  return kumo.make_route_table {
    name = name,
    routes = { { name = 'a', weight = 1 } },
    class = %s,
  }
end)
"""


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def config_of(bench, by):
    """The table as policy gives it, with `by` as its class, and the policy."""
    policy = bench.policy(TABLE % by)
    return now(policy.route_table("bulk")), policy


def classed(bench, by, **meta):
    config, _policy = config_of(bench, by)
    message = bench.message()
    message.meta.update(meta)
    return now(Classes(bench.clock).ask(config, message))


def test_a_function_gets_the_message(bench):
    """`msg:get_meta` and its like, as in any handler."""
    by = "function(msg) return msg:get_meta('plan') or msg:recipient().domain end"
    assert classed(bench, by, plan="gold").name == "gold"
    assert classed(bench, by).name == "example.org"
    assert classed(bench, "function(msg) end").name == ""


def test_a_function_is_known_by_its_place(bench):
    """Policy is asked for the table again and again; each answer's function is another object and the same table."""
    config, policy = config_of(bench, "function(msg) return 'x' end")
    assert isinstance(config.class_, ClassFunction)
    assert config.class_.place.endswith("policy.lua:6")
    again = now(policy.route_table("bulk"))
    assert again == config
    assert again.class_.run is not config.class_.run


@pytest.mark.parametrize(
    ("by", "text"),
    [
        ("function(msg) return msg.nothing.at_all end", r"policy.lua:6: "),
        ("function(msg) error('no idea') end", r"policy.lua:6: no idea"),
        ("function(msg) while true do end end", r"policy.lua:6: .*CPU"),
        ("function(msg) kumo.reject(550, 'no') end", r"rejects with 550 no"),
        ("function(msg) return msg end", r"policy.lua:6 must return a string or nil, it returned a function or object"),
        ("function(msg) return {} end", r"it returned a table"),
    ],
)
def test_a_function_that_fails_says_where(bench, by, text):
    """File and line; endless ones end by the policy's budget; the message is in the class of all."""
    bench.cpu_budget = 0.05
    found = classed(bench, by)
    assert found.name == ""
    assert re.search(text, found.problem), found.problem


def test_a_function_may_wait(bench):
    """For HTTP, DNS, Redis or what else: its message waits, and nothing else."""
    config, _policy = config_of(bench, "function(msg) return kumo.wait('answer') end")
    work = Deferred.fromCoroutine(Classes(bench.clock).ask(config, bench.message()))
    assert not work.called
    bench.waits.end("answer", "slow")
    assert work.result.name == "slow"


@pytest.mark.parametrize("by", ["{}", "true", "5", "kumo"])
def test_what_is_neither_a_string_nor_a_function_is_refused(bench, by):
    """As for every option: its name, what came, what it may be."""
    with pytest.raises(PolicyError, match=r"option 'class' must be a string or a function, got"):
        config_of(bench, by)


def test_policy_sees_no_object_of_ours(bench):
    """Looked at from Lua, the option is a word."""
    source = (
        "t = kumo.make_route_table { name = 't', routes = { { name = 'a', weight = 1 } }, "
        "class = function(msg) return 'x' end }; assert(t.class == '(function)', t.class); "
        "for name, value in pairs(t) do assert(type(value) ~= 'userdata', name) end"
    )
    bench.policy(source)


def test_a_function_leaves_no_memory_behind(bench):
    """When its table has let go of it, a replaced policy is gone, function and all."""
    config, policy = config_of(bench, "function(msg) return 'x' end")
    gone = weakref.ref(policy.program.bridge.engine)
    now(policy.reload())
    assert now(Classes(bench.clock).ask(config, bench.message())).name == "x", "what is under way goes on"
    del config
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "change",
    [
        "msg:set_meta('route', 'a')",
        "msg:set_recipient('other@example.org')",
        "msg:set_sender('other@example.org')",
        "msg:set_data('other')",
        "msg:set_due()",
        "msg:set_scheduling { first_attempt = '2030-01-01T00:00:00Z' }",
        "msg:append_header('X', 'y')",
        "msg:remove_x_headers()",
        "msg:import_x_headers { 'x-plan' }",
        "msg:increment_num_attempts()",
        "msg:save()",
        "kumo.apply_supplemental_trace_header(msg)",
        "kumo.inject_message(msg)",
    ],
)
def test_a_function_only_reads_the_message(bench, change):
    """A function that pins its message to a route, or edits it, fails at that line; the message stays as it was."""
    config, _policy = config_of(bench, f"function(msg) {change} return 'x' end")
    message = bench.message(body=b"Subject: x\r\nX-Plan: gold\r\n\r\nhello\r\n")
    before = attrs.asdict(message, recurse=False) | {"meta": dict(message.meta)}
    found = now(Classes(bench.clock).ask(config, message))
    assert found.name == ""
    assert "policy.lua:6: the message cannot be changed here" in found.problem
    assert attrs.asdict(message, recurse=False) == before


def test_a_function_reads_all_of_the_message(bench):
    """Headers, the body, addresses and the queue's name are there, also when only the spool has the body."""
    by = (
        "function(msg) return msg:get_first_named_header_value('Subject') .. msg:recipient().domain .. "
        "msg:queue_name() .. #msg:get_data() end"
    )
    config, _policy = config_of(bench, by)
    message = bench.message(body=b"Subject: x\r\n\r\nhello\r\n")
    now(bench.store.save([message]))
    assert now(Classes(bench.clock).ask(config, message)).name == "xexample.orgexample.org21"
    message.release_body()
    assert now(Classes(bench.clock).ask(config, message)).name == "xexample.orgexample.org21"
    assert message.body is None

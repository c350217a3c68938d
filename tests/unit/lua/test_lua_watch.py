"""What policy has in hand is noted while it runs, and what holds everything up is said."""

from __future__ import annotations

import pytest
from attrs import define, field
from support.lua import Bench, now
from twisted.internet.defer import Deferred

from kumotwist.core import queuename
from kumotwist.core.errors import PolicyError

SENDER = """
kumo.on('make.sender', function(domain)
  local sender = {}
  function sender:send(msg) kumo.wait 'a' return 'sent' end
  function sender:send_batch(msgs) return 'sent' end
  return sender
end)
kumo.on('requeue_message', function(msg) end)
kumo.on('throttle_insert_ready_queue', function(msg) end)
"""


@define
class Recording:
    """A witness that remembers what it was told."""

    now: tuple[str, int] | None = None
    told: list[tuple[str, int]] = field(factory=list)

    def begin(self, event, messages):
        assert self.now is None
        self.now = (event, len(messages))
        self.told.append(self.now)

    def end(self):
        assert self.now is not None
        self.now = None


def test_only_messages_of_the_spool_are_noted(bench: Bench) -> None:
    """A message that nobody acknowledged yet comes again from its client, not from the spool."""
    bench.witness = Recording()
    policy = bench.policy(SENDER)
    fresh, kept = bench.message(), bench.message()
    kept.is_meta_dirty = kept.is_body_dirty = False
    now(policy.throttle_insert_ready_queue(fresh))
    assert bench.witness.told == []
    now(policy.throttle_insert_ready_queue(kept))
    now(policy.requeue_message(kept, "400 x", [], True, None))
    assert bench.witness.told == [("throttle_insert_ready_queue", 1), ("requeue_message", 1)]
    assert bench.witness.now is None


def test_a_handler_that_waits_is_noted_only_while_it_runs(bench: Bench) -> None:
    """An end while a handler waits for the network is not the message's fault."""
    bench.witness = Recording()
    policy = bench.policy(SENDER)
    kept, other = bench.message(), bench.message()
    for one in (kept, other):
        one.is_meta_dirty = one.is_body_dirty = False
    connection = now(policy.connect("make.sender", queuename.parse("example.org")))
    work = Deferred.fromCoroutine(connection.send([kept], False))
    assert not work.called
    assert bench.witness.now is None
    bench.waits.end("a")
    assert now(_await(work)) == "sent"
    assert now(connection.send([kept, other], True)) == "sent"
    assert bench.witness.told == [("make.sender", 1), ("make.sender", 1), ("make.sender", 2)]
    assert bench.witness.now is None


async def _await(work):
    return await work


def test_a_handler_that_blocks_is_named(bench: Bench, events) -> None:
    """os.execute stops all mail while it runs: the log says so, once it was long."""
    policy = bench.policy("kumo.on('go', function(how) if how then os.execute(how) end end)")
    now(policy.run_event("go"))
    assert [event for event in events if "held everything up" in str(event.get("log_format"))] == []
    now(policy.run_event("go", ["sleep 0.6"]))
    (slow,) = [event for event in events if "held everything up" in str(event.get("log_format"))]
    assert slow["event"] == "go"
    assert 0.5 < slow["seconds"] < 30


def test_a_constructor_that_blocks_is_named(bench: Bench, events) -> None:
    """The event that held everything up is the one that ran, not the one before."""
    policy = bench.policy("kumo.on('make.slow', function() os.execute('sleep 0.6') return {} end)")
    now(policy.connect("make.slow", queuename.parse("example.org")))
    assert [event["event"] for event in events if "held everything up" in str(event.get("log_format"))] == ["make.slow"]


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        ("kumo.make_queue_confg {}", "did you mean 'kumo.make_queue_config'?"),
        ("msg:make_queue_config {}", "did you mean 'kumo.make_queue_config'?"),
        ("msg:get_metta('x')", "did you mean 'get_meta'?"),
        ("kumo.secrets_load {}", None),
    ],
)
def test_a_misspelt_function_is_found(bench: Bench, call: str, hint: str | None) -> None:
    """A typo in the name of a function or a method, or of its table, says which one is close; else it is as in Lua."""
    policy = bench.policy(f"kumo.on('requeue_message', function(msg) {call} end)")
    with pytest.raises(PolicyError, match="attempt to call a nil value") as error:
        now(policy.requeue_message(bench.message(), "400 x", [], True, None))
    assert (hint in str(error.value)) if hint else ("did you mean" not in str(error.value))


def test_what_may_be_missing_is_nil(bench: Bench) -> None:
    """A policy may ask whether a function is there."""
    policy = bench.policy("kumo.on('go', function() return kumo.no_such_thing == nil end)")
    assert now(policy.run_event("go")) is True

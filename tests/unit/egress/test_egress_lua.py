"""custom_lua: what the policy's return values and errors do to messages and sessions."""

import pytest
from support.fakes_egress import FakeLua, make_channels, make_message, make_request
from twisted.internet import defer, task

from kumotwist.config.queue import CustomLuaProtocol
from kumotwist.core.errors import ConnectFailed, PolicyError, Rejection, SessionEnded
from kumotwist.core.outcome import Scope, Verdict


def now(coroutine):
    seen = []
    defer.Deferred.fromCoroutine(coroutine).addBoth(seen.append)
    if hasattr(seen[0], "raiseException"):
        seen[0].raiseException()
    return seen[0]


def session_for(lua, **options):
    channels = make_channels(task.Clock(), lua=lua)
    channel = channels.channel_for(CustomLuaProtocol(constructor="make.sg", **options))
    return channel.open(make_request("dest.test", idle_timeout=5))


@pytest.mark.parametrize(
    ("result", "verdict", "code", "content", "is_connected"),
    [
        ("202 Accepted: id=7", Verdict.DELIVERED, 200, "202 Accepted: id=7", True),
        (Rejection(450, "4.7.0 slow down"), Verdict.TRANSIENT, 450, "4.7.0 slow down", True),
        (Rejection(499, "x"), Verdict.TRANSIENT, 499, "x", True),
        (Rejection(421, "bye"), Verdict.TRANSIENT, 421, "bye", False),
        (Rejection(500, "no"), Verdict.PERMANENT, 500, "no", True),
        (Rejection(250, "odd"), Verdict.PERMANENT, 250, "odd", True),
        (Rejection(302, "odd"), Verdict.PERMANENT, 302, "odd", True),
        (
            PolicyError("policy.lua:7: boom"),
            Verdict.TRANSIENT,
            400,
            "KumoMTA internal: error in deliver_message: sender:send method failed: policy.lua:7: boom",
            False,
        ),
    ],
)
def test_the_result_of_send(result, verdict, code, content, is_connected):
    """Strings deliver, kumo.reject decides, other errors are retried on a new connection."""
    lua = FakeLua(result)
    session = session_for(lua)
    now(session.connect())
    ((outcome, again),) = now(session.deliver([make_message("a@d.test", "b@d.test")]))
    assert outcome is again
    assert (outcome.verdict, outcome.response.code, outcome.response.content) == (verdict, code, content)
    assert outcome.response.enhanced is None
    assert outcome.response.command is None
    assert session.is_connected is is_connected
    assert (outcome.scope is Scope.SESSION) is not is_connected
    assert outcome.is_ambiguous is isinstance(result, PolicyError), "its request may have left"
    assert lua.connection.closed == (not is_connected)
    assert (outcome.peer.name, outcome.peer.addr, outcome.peer.delivery_protocol) == (
        "Lua via make.sg",
        "0.0.0.0",
        "Lua",
    )
    now(session.close())
    assert lua.connection.closed == 1


@pytest.mark.parametrize("error", [PolicyError("p.lua:1: no"), Rejection(500, "no key")])
def test_a_constructor_that_fails_is_a_failed_connect(error):
    """An error in the constructor, kumo.reject too, is retried as any failed connection."""
    session = session_for(FakeLua(failure=error))
    with pytest.raises(ConnectFailed) as caught:
        now(session.connect())
    outcome = caught.value.outcome
    assert (outcome.verdict, outcome.scope, outcome.response.code) == (Verdict.TRANSIENT, Scope.SESSION, 400)
    assert outcome.response.content.startswith("KumoMTA internal: failed to connect to any candidate hosts: ")


def test_batches():
    """`batch_size` above 1 calls send_batch, even for one message; the waits are bounded."""
    lua = FakeLua()
    session = session_for(lua, batch_size=10, min_batch_size=50, max_batch_latency=60)
    assert (session.max_batch, session.min_batch, session.batch_latency) == (10, 10, 5)
    now(session.connect())
    assert lua.opened == [("make.sg", "dest.test")]
    messages = [make_message(), make_message("a@d.test", "b@d.test")]
    assert [len(one) for one in now(session.deliver(messages))] == [1, 2]
    now(session.deliver(messages[:1]))
    assert lua.connection.sent == [(messages, True), (messages[:1], True)]
    single = session_for(other := FakeLua())
    now(single.connect())
    now(single.deliver(messages[:1]))
    assert other.connection.sent == [(messages[:1], False)]


def test_a_session_connects_once():
    """After a 421 or an error the session ends; a fresh one takes the next message."""
    session = session_for(FakeLua(PolicyError("x")))
    now(session.connect())
    now(session.deliver([make_message()]))
    with pytest.raises(SessionEnded):
        now(session.connect())

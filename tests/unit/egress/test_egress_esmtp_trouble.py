"""The SMTP channel against servers that stall, reset, close, talk garbage or say 421 at each step."""

import pytest
import pytest_twisted
from support.fakes_egress import make_channels, make_message, make_request
from support.scripted_smtp import CLOSE, GARBAGE, GOOD, RESET, STALL, ScriptedSmtp
from twisted.internet import defer, reactor, task

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.queue import SmtpProtocol
from kumotwist.core.errors import ConnectFailed
from kumotwist.core.outcome import Scope, Verdict

BYE = "421 4.3.2 shutting down\r\n"
AUTH = {
    "smtp_auth_plain_username": "user",
    "smtp_auth_plain_password": LiteralKey(b"s3cret"),
    "allow_smtp_auth_plain_without_tls": True,
}


def open_session(server, clock=None, **path):
    channels = make_channels(reactor, clock=clock)
    protocol = SmtpProtocol(mx_list=(f"[127.0.0.1:{server.port}]",))
    return channels.channel_for(protocol).open(make_request(site="the-site", **path))


async def fast_forward(server, clock, coroutine):
    """Run `coroutine`; when the server stalls, let all timeouts pass."""
    stalled = server.when_stalled()
    running = defer.Deferred.fromCoroutine(coroutine)
    await stalled
    for _ in range(20):  # what it said before reaches us first: in turns of the reactor, however long each one takes
        await task.deferLater(reactor, 0.001)
    while not running.called:
        clock.advance(1000)
        await task.deferLater(reactor, 0)
    return await running


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (RESET, "the connection was reset or lost"),
        (CLOSE, "peer closed the connection"),
        (GARBAGE, "Malformed Response"),
        (BYE, "421 4.3.2 shutting down"),
        ("554 5.7.1 not you\r\n", "554 5.7.1 not you"),
        (STALL, "Timed Out waiting"),
    ],
)
@pytest.mark.parametrize(
    ("step", "context"),
    [
        ("banner", "read initial banner"),
        ("ehlo", "EHLO after banner"),
        ("auth", "authenticating as user via SMTP AUTH PLAIN"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_host_that_fails_before_the_first_message(step, context, action, reason):
    """A host that cannot be used is named with what it did; the message is retried later, the password never shown."""
    clock = task.Clock() if action == STALL else None
    async with ScriptedSmtp({step: action}).start(reactor) as server:
        session = open_session(server, clock, **AUTH)
        with pytest.raises(ConnectFailed) as caught:
            await (fast_forward(server, clock, session.connect()) if clock else session.connect())
        await session.close()
        await server.empty()
    outcome = caught.value.outcome
    assert (outcome.verdict, outcome.scope, outcome.response.code) == (Verdict.TRANSIENT, Scope.SESSION, 400)
    text = outcome.response.content
    assert text.startswith("KumoMTA internal: failed to connect to any candidate hosts: ")
    assert context in text
    assert reason in text
    assert "s3cret" not in text
    assert f"127.0.0.1:{server.port}" in text
    if clock:
        assert not clock.getDelayedCalls()


STEPS = [("mail", "MAIL FROM:<from@src.test>"), ("rcpt", "RCPT TO:<to@dest.test>"), ("data", "DATA"), ("dot", ".")]


@pytest.mark.parametrize(("step", "command"), [*STEPS, ("rset", "RSET")])
@pytest.mark.parametrize("pipelines", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_stall_is_a_timeout_that_names_the_command(step, command, pipelines):
    """A silent server costs one message a retry with 421 4.4.2; rules of operators look for the words."""
    clock = task.Clock()
    is_second = step == "rset"
    async with ScriptedSmtp({step: STALL}).start(reactor) as server:
        session = open_session(server, clock, enable_pipelining=pipelines)
        await session.connect()
        if is_second:
            await session.deliver([make_message()])
        ((outcome,),) = await fast_forward(server, clock, session.deliver([make_message()]))
        assert not session.is_connected
        await session.close()
        await server.empty()
    seconds = 5 if is_second else 300
    assert outcome.response.to_line() == (
        f"421 4.4.2 KumoMTA internal: failed to send message to the-site 127.0.0.1/127.0.0.1:{server.port}: "
        f"Timed Out waiting {seconds}s for response to {command}"
    )
    assert outcome.response.command == (command if command == "." else f"{command}\r\n")
    assert (outcome.verdict, outcome.scope) == (Verdict.TRANSIENT, Scope.SESSION)
    assert outcome.is_ambiguous is (command == "."), "it may have been taken once all of it has left"
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize(("step", "command"), STEPS)
@pytest.mark.parametrize("action", [RESET, CLOSE, GARBAGE])
@pytest_twisted.ensureDeferred
async def test_a_broken_connection_is_a_passing_failure(step, command, action):
    """Whatever a server breaks in the middle of a message, the message is kept and tried again."""
    async with ScriptedSmtp({step: action}).start(reactor) as server:
        session = open_session(server)
        await session.connect()
        ((outcome,),) = await session.deliver([make_message()])
        assert not session.is_connected
        await session.close()
    assert (outcome.verdict, outcome.scope, outcome.response.code) == (Verdict.TRANSIENT, Scope.SESSION, 400)
    assert outcome.response.content.startswith("KumoMTA internal: error in deliver_message: ")
    assert outcome.is_ambiguous is (command == "."), "it may have been taken once all of it has left"


@pytest.mark.parametrize(("step", "command"), STEPS)
@pytest_twisted.ensureDeferred
async def test_421_is_passed_on_and_ends_the_session(step, command):
    """RFC 5321 s3.8: a 421 at any step is the message's result, and the connection is over."""
    async with ScriptedSmtp({step: BYE}).start(reactor) as server:
        session = open_session(server)
        await session.connect()
        ((outcome,),) = await session.deliver([make_message()])
        assert not session.is_connected
        await session.close()
    assert (outcome.verdict, outcome.scope) == (Verdict.TRANSIENT, Scope.SESSION)
    assert outcome.response.to_line() == "421 4.3.2 shutting down"
    assert not outcome.is_ambiguous, "it has said so"
    assert outcome.response.command == (command if command == "." else f"{command}\r\n")


@pytest.mark.parametrize(("step", "command"), STEPS)
@pytest.mark.parametrize(
    ("code", "verdict"), [(450, Verdict.TRANSIENT), (503, Verdict.TRANSIENT), (550, Verdict.PERMANENT)]
)
@pytest_twisted.ensureDeferred
async def test_a_refusal_at_any_step_leaves_the_connection_usable(step, command, code, verdict):
    """One refused message does not cost the others their connection, unless the server is out of step (503)."""
    async with ScriptedSmtp({step: [f"{code} 5.0.0 no\r\n"]}).start(reactor) as server:
        session = open_session(server, enable_rset=False)
        await session.connect()
        ((outcome,),) = await session.deliver([make_message()])
        assert (outcome.verdict, outcome.response.code) == (verdict, code)
        assert outcome.peer.addr == "127.0.0.1"
        if code == 503:
            assert not session.is_connected
            assert outcome.scope is Scope.SESSION
        else:
            assert outcome.scope is Scope.RECIPIENT
            ((second,),) = await session.deliver([make_message()])
            assert second.verdict is Verdict.DELIVERED
            assert "RSET" in server.verbs()
        await session.close()


@pytest.mark.parametrize("action", [RESET, CLOSE, GARBAGE, BYE, STALL, GOOD["quit"]])
@pytest_twisted.ensureDeferred
async def test_quit_is_polite_and_bounded(action):
    """However a server takes our QUIT, closing ends soon and quietly."""
    clock = task.Clock() if action == STALL else None
    async with ScriptedSmtp({"quit": action}).start(reactor) as server:
        session = open_session(server, clock)
        await session.connect()
        await (fast_forward(server, clock, session.close()) if clock else session.close())
        assert not session.is_connected
        assert "QUIT" in server.verbs()


@pytest_twisted.ensureDeferred
async def test_a_goodbye_while_idle_is_noticed_and_charged_to_nobody():
    """A 421 or a close between two messages is seen before the next one is sent."""
    async with ScriptedSmtp().start(reactor) as server:
        for leave in (server.drop_all, lambda: server.say_all(BYE), lambda: server.say_all("250 what\r\n")):
            session = open_session(server)
            await session.connect()
            await session.deliver([make_message()])
            leave()
            deadline = reactor.seconds() + 30
            while session.is_connected:
                assert reactor.seconds() < deadline
                await task.deferLater(reactor, 0.005)
            await session.close()
        assert len(server.messages) == 3


@pytest_twisted.ensureDeferred
async def test_a_server_that_answers_before_the_body_is_not_believed():
    """A server that acknowledges a message it has not been sent yet gets it again later, from us or not at all."""
    async with ScriptedSmtp({"data": "354 go\r\n250 got it\r\n"}).start(reactor) as server:
        session = open_session(server)
        await session.connect()
        ((outcome,),) = await session.deliver([make_message()])
        assert outcome.verdict is Verdict.TRANSIENT
        assert "before it is asked" in outcome.response.content
        await session.close()


@pytest_twisted.ensureDeferred
async def test_a_verdict_in_the_middle_of_a_large_body_ends_the_connection():
    """A server that refuses a large message half-way is believed, and never sees the rest as commands."""
    body = b"Subject: large\r\n\r\n" + b"x" * 998 + b"\r\n" + b"y" * 76 + b"\r\n" * 400_000
    async with ScriptedSmtp({"data": "354 go\r\n"}).start(reactor) as server:
        session = open_session(server)
        await session.connect()
        delivery = defer.Deferred.fromCoroutine(session.deliver([make_message(body=body)]))
        (conversation,) = server.open
        while not (conversation.is_in_data and conversation.buffer):
            await task.deferLater(reactor, 0)
        conversation.transport.pauseProducing()
        server.say_all("552 5.3.4 too big\r\n")
        ((outcome,),) = await delivery
        assert (outcome.verdict, outcome.response.code) == (Verdict.PERMANENT, 552)
        assert not session.is_connected
        await session.close()


@pytest_twisted.ensureDeferred
async def test_a_body_that_did_not_leave_as_a_whole_was_not_taken():
    """A connection that breaks half-way leaves no doubt: the message may go another way at once."""
    body = b"Subject: large\r\n\r\n" + b"y" * 76 + b"\r\n" * 4_000_000
    async with ScriptedSmtp({"data": "354 go\r\n"}).start(reactor) as server:
        session = open_session(server)
        await session.connect()
        delivery = defer.Deferred.fromCoroutine(session.deliver([make_message(body=body)]))
        (conversation,) = server.open
        while not (conversation.is_in_data and conversation.buffer):
            await task.deferLater(reactor, 0)
        conversation.transport.abortConnection()
        ((outcome,),) = await delivery
        assert (outcome.verdict, outcome.scope, outcome.is_ambiguous) == (Verdict.TRANSIENT, Scope.SESSION, False)
        await session.close()


@pytest_twisted.ensureDeferred
async def test_a_recipient_that_was_refused_is_not_in_doubt_with_the_others():
    """The connection breaks after the body: only whoever was in the transaction may have it."""
    async with ScriptedSmtp({"rcpt": ["450 4.2.0 greylisted\r\n", "250 ok\r\n"], "dot": CLOSE}).start(
        reactor
    ) as server:
        session = open_session(server)
        await session.connect()
        ((one, two),) = await session.deliver([make_message("a@d.test", "b@d.test")])
        assert (one.scope, one.is_ambiguous) == (Scope.RECIPIENT, False)
        assert (two.scope, two.is_ambiguous) == (Scope.SESSION, True)
        await session.close()


@pytest.mark.parametrize("second", [BYE, "450 4.2.0 later\r\n", "550 5.1.1 unknown\r\n"])
@pytest_twisted.ensureDeferred
async def test_what_one_host_may_have_is_in_doubt_until_another_one_decides(second):
    """`try_next_host_on_transport_error`: the next host's "later" does not tell that the first has not got it."""
    async with (
        ScriptedSmtp({"dot": CLOSE}).start(reactor) as first,
        ScriptedSmtp({"rcpt": second}).start(reactor) as other,
    ):
        hosts = tuple(f"[127.0.0.1:{one.port}]" for one in (first, other))
        channel = make_channels(reactor).channel_for(SmtpProtocol(mx_list=hosts))
        session = channel.open(make_request(site="the-site", try_next_host_on_transport_error=True))
        await session.connect()
        ((outcome,),) = await session.deliver([make_message()])
        assert outcome.is_ambiguous is (outcome.verdict is Verdict.TRANSIENT)
        await session.close()

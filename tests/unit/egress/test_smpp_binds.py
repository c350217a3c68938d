"""Binds to an SMSC: opened, shared, kept, lost, bound again, replaced."""

import attrs
import pytest
import pytest_twisted
import trustme
from OpenSSL import SSL
from support.fakes_egress import FakeKeys, make_channels, make_request
from support.scripted_smsc import SILENCE
from support.smpp_world import RECEIPT, text, until, world
from twisted.internet import defer, reactor, task

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.option import Duration
from kumotwist.core.errors import ConfigError, ConnectFailed, SessionEnded
from kumotwist.core.outcome import Scope, Verdict
from kumotwist.egress.sms.smpp.channel import BIND_OPTIONS
from kumotwist.egress.sms.smpp.options import SmppProtocol
from kumotwist.proto.smpp.commands import Command, Status


@pytest_twisted.ensureDeferred
async def test_a_password_changed_in_the_vault_is_picked_up():
    """A refused password is read again at once, past the cache."""

    class Rotated(FakeKeys):
        async def refresh(self, source):
            return b"new"

    async with world(keys=Rotated(), bind_status=[Status.ESME_RINVPASWD, 0]) as around:
        ((outcome,),) = await around.deliver()
        assert outcome.verdict is Verdict.DELIVERED
        assert around.smsc.passwords == ["secret", "new"]


@pytest_twisted.ensureDeferred
async def test_a_locked_account_rests_the_source():
    """Nothing is bounced because a password expired, and the SMSC is left in peace for a while."""
    async with world(bind_status=Status.ESME_RINVPASWD) as around:
        session = around.channel().open(make_request())
        with pytest.raises(ConnectFailed) as caught:
            await session.connect()
        outcome = caught.value.outcome
        assert (outcome.verdict, outcome.scope) == (Verdict.TRANSIENT, Scope.SOURCE)
        assert outcome.retry_after > 299
        assert "ESME_RINVPASWD" in outcome.response.content
        assert "secret" not in outcome.response.content
        await session.close()
        again = around.channel().open(make_request())
        with pytest.raises(ConnectFailed):
            await again.connect()
        assert len(around.smsc.binds) == 1
        await again.close()


@pytest.mark.parametrize("status", [Status.ESME_RALYBND, Status.ESME_RTHROTTLED, Status.ESME_RSYSERR])
@pytest_twisted.ensureDeferred
async def test_a_bind_that_is_refused_for_now_is_tried_again_soon(status):
    """The SMSC has not noticed yet that we were killed, or is busy."""
    async with world(bind_status=status) as around:
        session = around.channel().open(make_request())
        with pytest.raises(ConnectFailed) as caught:
            await session.connect()
        assert caught.value.outcome.retry_after <= 1.0
        await session.close()


@pytest_twisted.ensureDeferred
async def test_an_smsc_that_is_down_rests_the_source_for_a_moment():
    """Pauses between tries grow; messages wait uncharged."""
    async with world() as around:
        protocol = around.protocol(port=1)
        session = around.channels.channel_for(protocol).open(make_request())
        with pytest.raises(ConnectFailed) as caught:
            await session.connect()
        assert caught.value.outcome.scope is Scope.SOURCE
        assert 0 < caught.value.outcome.retry_after <= 1.0
        assert caught.value.outcome.is_told, "the log has a line for each try to bind"
        assert "127.0.0.1:1: cannot connect" in caught.value.outcome.response.content
        with pytest.raises(SessionEnded):
            await session.connect()
        await session.close()


@pytest_twisted.ensureDeferred
async def test_an_smsc_that_does_not_answer_the_bind_is_not_waited_for():
    """Within `bind_timeout`."""
    async with world() as around:
        around.smsc.received = lambda *_: None
        session = around.channel(bind_timeout=0.05).open(make_request())
        with pytest.raises(ConnectFailed) as caught:
            await session.connect()
        assert "no bind in 0.05 seconds" in caught.value.outcome.response.content
        await session.close()


@pytest_twisted.ensureDeferred
async def test_a_receipt_is_heard_after_the_last_session_has_gone():
    """The bind stays for `receive_for`, then the SMSC hears goodbye."""
    async with world() as around:
        await around.deliver(receive_for=1.0)
        answered = defer.Deferred()
        around.smsc.deliver(RECEIPT, answered, esm_class=4)
        assert await answered == Status.ESME_ROK
        await until(lambda: around.smsc.unbinds == 1 and not around.smsc.connections)


@pytest_twisted.ensureDeferred
async def test_separate_binds_for_each_way():
    """A transmitter and a receiver; receipts come over the second."""
    async with world() as around:
        await around.deliver(bind="TransmitterAndReceiver")
        await until(lambda: len(around.smsc.connections) == 2)
        answered = defer.Deferred()
        around.smsc.deliver(RECEIPT, answered, esm_class=4)
        assert await answered == Status.ESME_ROK
        assert sorted(around.smsc.binds) == [Command.BIND_RECEIVER, Command.BIND_TRANSMITTER]


@pytest_twisted.ensureDeferred
async def test_a_declared_receiver_is_bound_without_a_message_and_bound_again():
    """`kumo.start_smpp_receiver`: when the SMSC hangs up, we are back after a moment."""
    async with world() as around:
        around.channels.receive(around.protocol())
        await until(lambda: len(around.smsc.binds) == 1)
        around.smsc.drop_all()
        await until(lambda: len(around.smsc.binds) == 2)
        await around.deliver()
        assert len(around.smsc.binds) == 2


def certificate(ca, name):
    """An OpenSSL context for the SMSC's side of TLS."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    ca.issue_cert(name).configure_cert(context)
    return context


@pytest_twisted.ensureDeferred
async def test_texts_over_tls():
    """The certificate is checked against the name, and what was agreed is in the record."""
    ca = trustme.CA()
    async with world(roots=(ca.cert_pem.bytes(),), tls=certificate(ca, "127.0.0.1")) as around:
        ((outcome,),) = await around.deliver(tls="Required")
        assert outcome.verdict is Verdict.DELIVERED
        assert outcome.peer.tls_protocol_version.startswith("TLSv1.")


@pytest_twisted.ensureDeferred
async def test_a_certificate_of_somebody_else_gets_no_password():
    """The bind is not even tried, unless the operator says that any certificate will do."""
    ca = trustme.CA()
    async with world(roots=(ca.cert_pem.bytes(),), tls=certificate(ca, "other.test")) as around:
        session = around.channel(tls="Required").open(make_request())
        with pytest.raises(ConnectFailed) as caught:
            await session.connect()
        assert "TLS failed: certificate is not for 127.0.0.1" in caught.value.outcome.response.content
        assert not around.smsc.passwords
        await session.close()
        ((outcome,),) = await around.deliver(tls="RequiredInsecure", account="other")
        assert outcome.verdict is Verdict.DELIVERED


@pytest_twisted.ensureDeferred
async def test_an_smsc_without_tls_is_told_nothing():
    """A clear-text peer where TLS is required."""
    async with world() as around:
        session = around.channel(tls="Required", bind_timeout=1.0).open(make_request())
        with pytest.raises(ConnectFailed):
            await session.connect()
        assert not around.smsc.passwords
        await session.close()


@pytest_twisted.ensureDeferred
async def test_another_host_takes_over():
    """When nobody listens at the first."""
    async with world() as around:
        ((outcome,),) = await around.deliver(port=1, fallback_hosts=(f"127.0.0.1:{around.smsc.port}",))
        assert outcome.verdict is Verdict.DELIVERED


@pytest_twisted.ensureDeferred
async def test_a_changed_policy_replaces_the_bind():
    """The old one goes when nothing uses it, for providers count binds; a declared receiver stays one."""
    async with world() as around:
        around.channels.receive(around.protocol(window=5))
        await until(lambda: len(around.smsc.binds) == 1)
        await around.deliver(window=6, receive_for=0.0)
        await until(lambda: around.smsc.unbinds == 1)
        await until(lambda: len(around.smsc.connections) == 1)
        await task.deferLater(reactor, 0.05)
        assert len(around.smsc.connections) == 1
        assert len(around.smsc.binds) == 2


@pytest_twisted.ensureDeferred
async def test_queues_that_differ_in_the_message_share_the_bind():
    """Flash or not, over the same connection."""
    async with world() as around:
        await around.deliver(flash=True)
        await around.deliver(flash=False, sender="Shop")
        assert [one.data_coding for one in around.smsc.submitted] == [0x10, 0]
        assert len(around.smsc.binds) == 1


@pytest_twisted.ensureDeferred
async def test_a_silent_smsc_is_asked_and_then_left():
    """enquire_link; what was out is in doubt when nothing comes."""
    async with world(lambda _: SILENCE) as around:
        real = around.smsc.received

        def deaf(connection, pdu):
            if pdu.command != Command.ENQUIRE_LINK:
                real(connection, pdu)

        around.smsc.received = deaf
        ((outcome,),) = await around.deliver(response_timeout=0.2, enquire_link_interval=Duration(0.05))
        assert outcome.is_ambiguous


@pytest_twisted.ensureDeferred
async def test_an_smsc_that_sends_rubbish_is_left():
    """A length that no PDU has; the message is in doubt, and a new bind is made."""
    async with world() as around:
        session = await around.session()
        around.smsc.connections[0].transport.write(b"\xff" * 16)
        ((outcome,),) = await session.deliver([text()])
        assert outcome.verdict is not Verdict.PERMANENT
        await until(lambda: not around.smsc.connections)
        await session.close()
        await until(lambda: len(around.smsc.binds) == 2)


def test_the_options_of_a_bind_are_options():
    """A name that is misspelt in the list would give every queue a bind of its own."""
    assert set(BIND_OPTIONS) < {field.name for field in attrs.fields(SmppProtocol)}


@pytest_twisted.ensureDeferred
async def test_a_password_that_does_not_fit_is_told_without_being_shown():
    """And leaves no connection behind."""
    async with world() as around:
        session = around.channel(password=LiteralKey(b"s3cr3t" * 20)).open(make_request())
        with pytest.raises(ConnectFailed) as caught:
            await session.connect()
        outcome = caught.value.outcome
        assert (outcome.scope, outcome.retry_after > 299) == (Scope.SOURCE, True)
        assert "password is longer than 64 octets" in outcome.response.content
        assert "s3cr3t" not in outcome.response.content
        await session.close()
        await until(lambda: not around.smsc.connections)


@pytest_twisted.ensureDeferred
async def test_an_smsc_that_forgot_our_bind_gets_a_new_one():
    """RINVBNDSTS for a message: we are not bound as far as the SMSC knows."""
    answers = [Status.ESME_RINVBNDSTS]
    async with world(lambda _: answers.pop() if answers else None) as around:
        ((outcome,),) = await around.deliver(rest=0.1)
        assert outcome.scope is Scope.SOURCE
        await until(lambda: len(around.smsc.binds) == 2)
        ((outcome,),) = await around.deliver(rest=0.1)
        assert outcome.verdict is Verdict.DELIVERED


def test_a_receiver_that_could_not_receive_is_a_mistake():
    """`bind = "Transmitter"`."""
    options = SmppProtocol(host="h", system_id="me", password=LiteralKey(b"x"), bind="Transmitter")
    with pytest.raises(ConfigError, match="nothing is received"):
        make_channels(reactor).receive(options)

"""The SMPP channel against an SMSC that does what it is told, right or wrong."""

import random
from contextlib import asynccontextmanager

import attrs
import pytest
import pytest_twisted
import trustme
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from support.fakes_egress import FakeKeys, make_channels, make_message, make_request
from support.scripted_smsc import HANG_UP, SILENCE, ScriptedSmsc
from twisted.internet import defer, reactor, task

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.option import Duration
from kumotwist.config.table import Table
from kumotwist.config.translate import SmsWordsOptions
from kumotwist.core.errors import ConfigError, ConnectFailed, Overload, Rejection, SessionEnded
from kumotwist.core.outcome import Scope, Verdict
from kumotwist.core.receipt import ReceiptState
from kumotwist.core.units import Throttle
from kumotwist.egress.protocols import protocol
from kumotwist.egress.sms.smpp.channel import BIND_OPTIONS
from kumotwist.egress.sms.smpp.classify import Fault, vendor_table
from kumotwist.egress.sms.smpp.content import words_of
from kumotwist.egress.sms.smpp.options import SmppProtocol
from kumotwist.egress.sms.smpp.pacer import Pacer
from kumotwist.proto.smpp.commands import RESPONSE, Command, Status, Tag
from kumotwist.proto.smpp.fields import Tlv
from kumotwist.proto.smpp.messages import Address, ShortMessage, encode_short_message
from kumotwist.proto.translate.body import read
from kumotwist.proto.translate.sms import words as translated

NUMBER = "+15551234567@sms"
RECEIPT = b"id:id-1 sub:001 dlvrd:001 submit date:2611250712 done date:2611250713 stat:DELIVRD err:000 text:hello"


class Receipts:
    """Keeps the contract of ReceiptSink; `problem` is raised in place of taking."""

    def __init__(self):
        self.events = []
        self.problem = None

    async def receive(self, events):
        if self.problem is not None:
            raise self.problem
        self.events.extend(events)


class Texts:
    """Keeps the contract of SmsReceiver."""

    def __init__(self):
        self.received = []
        self.problem = None

    async def receive(self, sms):
        if self.problem is not None:
            raise self.problem
        self.received.append(sms)


class World:
    def __init__(self, smsc, channels, receipts, texts):
        self.smsc, self.channels, self.receipts, self.texts = smsc, channels, receipts, texts

    def protocol(self, **options):
        for name in ("response_timeout", "throttle_patience", "receive_for", "bind_timeout", "max_rest", "rest"):
            if name in options:
                options[name] = Duration(options[name])
        given = {"host": "127.0.0.1", "port": self.smsc.port, "system_id": "me", "password": LiteralKey(b"secret\n")}
        return SmppProtocol(**{**given, **options})

    def channel(self, **options):
        return self.channels.channel_for(self.protocol(**options))

    async def session(self, **options):
        session = self.channel(**options).open(make_request())
        await session.connect()
        return session

    async def deliver(self, *messages, **options):
        session = await self.session(**options)
        outcomes = await session.deliver(messages or [text()])
        await session.close()
        return outcomes


@asynccontextmanager
async def world(script=None, keys=None, roots=(), tls=None, **smsc):
    receipts, texts = Receipts(), Texts()
    channels = make_channels(reactor, receipts=receipts, sms=texts, keys=keys, roots=roots)
    async with ScriptedSmsc(script, **smsc).start(reactor, tls) as peer:
        try:
            yield World(peer, channels, receipts, texts)
        finally:
            await channels.close()


def text(body="hello", to=NUMBER, meta=None):
    return make_message(to, body=f"Subject: x\r\n\r\n{body}\r\n".encode(), meta=meta)


async def until(condition):
    """Let the reactor turn until `condition()`, within a bound."""
    deadline = reactor.seconds() + 30
    while not condition():
        assert reactor.seconds() < deadline, "it does not come true"
        await task.deferLater(reactor, 0.002)


@pytest_twisted.ensureDeferred
async def test_a_text_arrives():
    """Number, type of number, text and request for a receipt; the SMSC's id comes back."""
    async with world() as around:
        ((outcome,),) = await around.deliver(sender="Shop")
        (sent,) = around.smsc.submitted
        assert (sent.destination, sent.source) == (Address("15551234567", 1, 1), Address("Shop", 5, 0))
        assert (sent.short_message, sent.data_coding, sent.registered_delivery) == (b"hello", 0, 1)
        assert (outcome.verdict, outcome.remote_id, outcome.parts) == (Verdict.DELIVERED, "id-1", 1)
        assert outcome.response.to_line() == "200 ESME_ROK (0x00): id-1"
        assert (outcome.peer.delivery_protocol, outcome.peer.channel, outcome.peer.account) == ("SMPP", "smpp", "me")
        assert around.smsc.passwords == ["secret"]


@pytest_twisted.ensureDeferred
async def test_every_recipient_of_a_message_gets_it():
    """One submit for each, one outcome for each, and one that is no number bounces alone."""
    async with world() as around:
        message = make_message("+15550000001@sms", "nobody@sms", "+15550000002@sms")
        (outcomes,) = await around.deliver(message)
        assert [one.verdict for one in outcomes] == [Verdict.DELIVERED, Verdict.PERMANENT, Verdict.DELIVERED]
        assert "no phone number" in outcomes[1].response.content
        assert len(around.smsc.submitted) == 2


@pytest.mark.parametrize(
    ("mode", "body", "sizes"),
    [("Udh", "a" * 200, [153, 47]), ("Udh16", "a" * 200, [152, 48]), ("Sar", "a" * 200, [153, 47])],
)
@pytest_twisted.ensureDeferred
async def test_a_long_text_goes_in_parts(mode, body, sizes):
    """All ids are kept, and how many parts there were."""
    async with world() as around:
        ((outcome,),) = await around.deliver(text(body), long_message=mode)
        sent = around.smsc.submitted
        header = {"Udh": 6, "Udh16": 7, "Sar": 0}[mode]
        assert [len(one.short_message) - header for one in sent] == sizes
        assert (outcome.remote_id, outcome.parts) == ("id-1 id-2", 2)
        if mode == "Sar":
            assert sent[0].tlv(Tag.SAR_MSG_REF_NUM) == sent[1].tlv(Tag.SAR_MSG_REF_NUM)
            assert [one.tlv(Tag.SAR_SEGMENT_SEQNUM) for one in sent] == [b"\1", b"\2"]
        else:
            assert all(one.esm_class == 0x40 for one in sent)


@pytest_twisted.ensureDeferred
async def test_a_long_text_can_go_whole():
    """message_payload, for SMSCs that cut texts themselves."""
    async with world() as around:
        await around.deliver(text("a" * 400), long_message="Payload")
        (sent,) = around.smsc.submitted
        assert (sent.short_message, sent.text) == (b"", b"a" * 400)


@pytest_twisted.ensureDeferred
async def test_what_the_message_asks_for():
    """UCS-2 at once on the screen, urgent, good until it expires here, number and sender out of the metadata."""
    async with world() as around:
        message = text("日本", to="x@sms", meta={"to": {"phone": "020 7946 0000"}, "from": {"sms": "+442079460001"}})
        message.max_age = 3600.0
        message.id = around_now()
        await around.deliver(message, flash=True, priority=2, default_region="GB")
        (sent,) = around.smsc.submitted
        assert sent.destination == Address("442079460000", 1, 1)
        assert sent.source == Address("442079460001", 1, 1)
        assert (sent.data_coding, sent.priority) == (0x18, 2)
        assert sent.short_message.decode("utf-16-be") == "日本"
        assert sent.validity_period in ("000000010000000R", "000000005959000R")


def around_now():
    from kumotwist.core.ids import IdGenerator

    return IdGenerator(reactor.seconds)()


@pytest.mark.parametrize(
    ("status", "verdict", "scope"),
    [
        (Status.ESME_RINVDSTADR, Verdict.PERMANENT, Scope.MESSAGE),
        (Status.ESME_RSYSERR, Verdict.TRANSIENT, Scope.MESSAGE),
        (Status.ESME_RTHROTTLED, Verdict.TRANSIENT, Scope.SOURCE),
        (Status.ESME_RMSGQFUL, Verdict.TRANSIENT, Scope.SOURCE),
        (Status.ESME_RINVBNDSTS, Verdict.TRANSIENT, Scope.SOURCE),
        (0x412, Verdict.TRANSIENT, Scope.MESSAGE),
        (0x401, Verdict.PERMANENT, Scope.MESSAGE),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_the_smsc_says(status, verdict, scope):
    """Each status does what the table says; the operator's own table counts for the vendor's."""
    async with world(lambda _: status) as around:
        ((outcome,),) = await around.deliver(status=Table({"0x401": "permanent"}), throttle_patience=0.0)
        assert (outcome.verdict, outcome.scope) == (verdict, scope)
        assert f"0x{status:02X}" in outcome.response.content
        assert (outcome.retry_after is not None) == (scope is Scope.SOURCE)


@pytest_twisted.ensureDeferred
async def test_a_throttled_message_waits_in_place():
    """A moment later it is taken; nobody is charged anything."""
    answers = [Status.ESME_RTHROTTLED]
    async with world(lambda _: answers.pop() if answers else None) as around:
        ((outcome,),) = await around.deliver()
        assert outcome.verdict is Verdict.DELIVERED
        assert len(around.smsc.submitted) == 2


@pytest_twisted.ensureDeferred
async def test_parts_after_a_refused_one_are_not_sent():
    """Half a text is worth nothing; the refusal names its part."""
    async with world(lambda _: Status.ESME_RINVDSTADR) as around:
        ((outcome,),) = await around.deliver(text("a" * 400), window=1)
        assert outcome.verdict is Verdict.PERMANENT
        assert outcome.response.content == "ESME_RINVDSTADR (0x0B) (part 1 of 3)"
        assert len(around.smsc.submitted) == 1


@pytest_twisted.ensureDeferred
async def test_answers_in_any_order_find_their_message():
    """Matched by sequence number."""
    async with world() as around:
        around.smsc.is_holding = True
        session = await around.session()
        batch = [text(f"{number}", f"+1555000000{number}@sms") for number in range(5)]
        delivery = defer.Deferred.fromCoroutine(session.deliver(batch))
        await until(lambda: len(around.smsc.held) == 5)
        around.smsc.release(reverse=True)
        outcomes = await delivery
        assert [one.remote_id for (one,) in outcomes] == [f"id-{number}" for number in range(1, 6)]
        await session.close()


@pytest_twisted.ensureDeferred
async def test_a_slow_answer_stalls_nobody_else():
    """The window is kept and refilled by whoever has something to send."""
    async with world(lambda message: SILENCE if message.text == b"slow" else None) as around:
        first, second = await around.session(window=2), await around.session(window=2)
        slow = defer.Deferred.fromCoroutine(first.deliver([text("slow"), text("quick")]))
        for _ in range(5):
            outcomes = await second.deliver([text("a"), text("b")])
            assert [one.verdict for (one,) in outcomes] == [Verdict.DELIVERED] * 2
        assert not slow.called
        assert around.smsc.binds == [Command.BIND_TRANSCEIVER]
        around.smsc.drop_all()
        outcomes = await slow
        assert [one.verdict for (one,) in outcomes] == [Verdict.TRANSIENT, Verdict.DELIVERED]
        await first.close()
        await second.close()


@pytest.mark.parametrize(
    ("choice", "verdict"),
    [("Retry", Verdict.TRANSIENT), ("Bounce", Verdict.PERMANENT), ("AssumeDelivered", Verdict.DELIVERED)],
)
@pytest.mark.parametrize("action", [HANG_UP, SILENCE])
@pytest_twisted.ensureDeferred
async def test_doubt_is_the_policys_to_resolve(choice, verdict, action):
    """A message that was sent and not answered is marked as such, whatever is done with it."""
    async with world(lambda _: action) as around:
        ((outcome,),) = await around.deliver(on_unknown=choice, response_timeout=0.05)
        assert (outcome.verdict, outcome.is_ambiguous) == (verdict, True)
        assert "unknown whether it was taken" in outcome.response.content


@pytest_twisted.ensureDeferred
async def test_what_was_not_sent_when_the_bind_broke_is_not_charged():
    """Only the one that was out is in doubt."""
    async with world(lambda _: HANG_UP) as around:
        (first,), (second,) = await around.deliver(text("a"), text("b"), window=1)
        assert (first.scope, first.is_ambiguous) == (Scope.SESSION, True)
        assert (second.verdict, second.scope, second.is_ambiguous) == (Verdict.TRANSIENT, Scope.SOURCE, False)
        assert second.retry_after <= 1.0


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
async def test_receipts_come_back():
    """They reach the ledger with the SMSC's id before the SMSC is told that they are taken."""
    async with world() as around:
        await around.deliver()
        answered = defer.Deferred()
        around.smsc.deliver(RECEIPT, answered, esm_class=4)
        assert await answered == Status.ESME_ROK
        (event,) = around.receipts.events
        assert (event.channel, event.account, event.remote_id) == ("smpp", "me", "id-1")
        assert event.state is ReceiptState.DELIVERED
        assert event.recipient == "15551234567"


@pytest_twisted.ensureDeferred
async def test_a_receipt_that_cannot_be_noted_comes_again():
    """The SMSC hears a temporary error and keeps it."""
    async with world() as around:
        await around.deliver()
        around.receipts.problem = Overload("too many receipts wait")
        answered = defer.Deferred()
        around.smsc.deliver(RECEIPT, answered, esm_class=4)
        assert await answered == Status.ESME_RX_T_APPN


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


@pytest_twisted.ensureDeferred
async def test_what_subscribers_write_reaches_policy():
    """A text in GSM, one in UCS-2, and a long one whose parts come out of order."""
    async with world() as around:
        await around.deliver()
        for body, fields in [
            (b"STOP \x1b\x65", {}),
            ("нет".encode("utf-16-be"), {"data_coding": 8}),
            (b"\5\0\3\7\2\2 world", {"esm_class": 0x40}),
            (b"\5\0\3\7\2\1hello", {"esm_class": 0x40}),
        ]:
            answered = defer.Deferred()
            around.smsc.deliver(body, answered, **fields)
            assert await answered == Status.ESME_ROK
        assert [(one.text, one.parts) for one in around.texts.received] == [
            ("STOP €", 1),
            ("нет", 1),
            ("hello world", 2),
        ]
        assert {(one.sender, one.recipient, one.account) for one in around.texts.received} == {
            ("+15551234567", "12345", "me")
        }


@pytest_twisted.ensureDeferred
async def test_sar_parts_are_put_together_too():
    """With parameters in place of a header."""
    async with world() as around:
        await around.deliver()
        for number, body in ((1, b"hello"), (2, b" world")):
            tlvs = (
                Tlv(Tag.SAR_MSG_REF_NUM, b"\0\7"),
                Tlv(Tag.SAR_TOTAL_SEGMENTS, b"\2"),
                Tlv(Tag.SAR_SEGMENT_SEQNUM, bytes((number,))),
            )
            answered = defer.Deferred()
            around.smsc.deliver(body, answered, tlvs=tlvs)
            await answered
        assert [one.text for one in around.texts.received] == ["hello world"]


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (Rejection(550, "no"), Status.ESME_RX_P_APPN),
        (Rejection(451, "later"), Status.ESME_RX_T_APPN),
        (Overload("busy"), Status.ESME_RX_T_APPN),
        (AttributeError("a defect"), Status.ESME_RX_T_APPN),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_text_that_is_not_taken_is_answered_all_the_same(problem, status, failures):
    """The SMSC is never left waiting, and hears whether to try again."""
    async with world() as around:
        await around.deliver()
        around.texts.problem = problem
        answered = defer.Deferred()
        around.smsc.deliver(b"STOP", answered)
        assert await answered == status
    failures.forgive("a defect")


@pytest_twisted.ensureDeferred
async def test_no_text_goes_out_without_a_number_a_text_or_room():
    """Each says why, at once and for good."""
    async with world() as around:
        cases = [
            (text(to="bob@sms"), {}, "no phone number"),
            (make_message(NUMBER, body=b"\r\n\r\n"), {}, "no words"),
            (text("a" * 400), {"max_segments": 2, "cut": False}, "more than 2 parts"),
            (text(), {"sender": "a name that is much too long"}, "longer than 20"),
            (text(), {"service_type": "toolong"}, "service_type is longer"),
        ]
        for message, options, reason in cases:
            ((outcome,),) = await around.deliver(message, **options)
            assert outcome.verdict is Verdict.PERMANENT
            assert reason in outcome.response.content
        assert not around.smsc.submitted


@pytest_twisted.ensureDeferred
async def test_a_cut_text_is_sent():
    """The default: as many parts as allowed, ending in dots."""
    async with world() as around:
        await around.deliver(text("word " * 100), max_segments=1)
        (sent,) = around.smsc.submitted
        assert sent.text.endswith(b"word...")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"default_region": "Germany"}, "default_region"),
        ({"window": 0}, "window"),
        ({"priority": 4}, "priority"),
        ({"max_segments": 256}, "max_segments"),
        ({"status": {"nonsense": "permanent"}}, "'nonsense' is no status"),
        ({"status": {"0x401": "maybe"}}, "status.0x401"),
        ({"tlvs": {"0x10000": "x"}}, "'0x10000' is no tag"),
        ({"meta_tlvs": {"id": "x"}}, "'id' is no tag"),
        ({"long_message": "Split"}, "long_message"),
        ({"passwort": "x"}, "did you mean 'password'"),
    ],
)
def test_mistakes_in_options_are_told(wrong, words):
    """When the policy is checked, not when the first message fails."""
    with pytest.raises(ConfigError, match=words):
        protocol({"smpp": {"host": "h", "system_id": "me", "password": {"key_data": "x"}, **wrong}}, "here")


@given(st.text(max_size=200), st.sampled_from([b"", b"Content-Type: text/plain; charset=utf-8\r\n"]))
def test_the_short_way_to_the_words_leads_to_the_same(words, header):
    """A plain line is not taken apart, and says what translation would have it say."""
    message = b"Subject: x\r\n" + header + b"\r\n" + words.encode("utf-8", "replace") + b"\r\n"
    assert words_of(message, SmsWordsOptions()) == translated(read(message), SmsWordsOptions())


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
async def test_parameters_that_a_provider_asks_for():
    """From the options and from the message's metadata; on every part."""
    async with world() as around:
        tlvs, meta_tlvs = Table({"0x1400": "entity"}), Table({"0x1401": "template", "5122": "absent"})
        message = text("a" * 200, meta={"template": 1207})
        await around.deliver(message, tlvs=tlvs, meta_tlvs=meta_tlvs, long_message="Sar")
        assert len(around.smsc.submitted) == 2
        for sent in around.smsc.submitted:
            assert sent.tlvs[:2] == (Tlv(0x1400, b"entity"), Tlv(0x1401, b"1207"))
            assert len(sent.tlvs) == 5


@pytest_twisted.ensureDeferred
async def test_a_recipient_whose_queue_is_full_does_not_stop_the_others():
    """RMSGQFUL for one number again and again, while others pass: that one goes back to the queue."""
    async with world(lambda one: Status.ESME_RMSGQFUL if one.destination.digits.endswith("9") else None) as around:
        session = await around.session(max_rest=0.01)
        (full,), (other,) = await session.deliver([text(to="+15551230009@sms"), text(to="+15551230001@sms")])
        assert (full.verdict, full.scope) == (Verdict.TRANSIENT, Scope.MESSAGE)
        assert other.verdict is Verdict.DELIVERED
        await session.close()


@pytest_twisted.ensureDeferred
async def test_what_waits_too_long_for_the_window_goes_back(monkeypatch):
    """A slow SMSC and many sessions: nobody is taken for stuck, and nothing that was sent is sent again."""
    monkeypatch.setattr("kumotwist.egress.sms.smpp.account.MAX_WAIT", 0.05)
    async with world(lambda _: SILENCE) as around:
        session = await around.session(window=1)
        delivery = defer.Deferred.fromCoroutine(session.deliver([text("a"), text("b")]))
        await task.deferLater(reactor, 0.1)
        around.smsc.drop_all()
        (first,), (second,) = await delivery
        assert first.is_ambiguous
        assert (second.scope, second.is_ambiguous) == (Scope.SOURCE, False)
        assert "too slowly" in second.response.content
        await session.close()


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


@pytest.mark.parametrize(("written", "status"), [("0x401", 0x401), ("1025", 0x401), (1025, 0x401), ("esme_rsyserr", 8)])
def test_statuses_may_be_written_in_any_way(written, status):
    """Lua keys may be numbers; names are those of the specification."""
    assert vendor_table({written: "permanent"}) == {status: Fault.PERMANENT}


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


@pytest_twisted.ensureDeferred
async def test_a_text_that_policy_is_busy_with_is_finished_before_the_goodbye():
    """A stop does not make the SMSC send it again."""
    async with world() as around:
        await around.deliver()
        slow = defer.Deferred()

        async def receive(sms):
            await slow
            around.texts.received.append(sms)

        around.texts.receive = receive
        around.smsc.deliver(b"STOP")
        await task.deferLater(reactor, 0.02)
        closing = defer.Deferred.fromCoroutine(around.channels.close())
        slow.callback(None)
        await closing
        assert around.smsc.acknowledged == [Status.ESME_ROK]
        assert around.smsc.unbinds == 1


def test_a_receiver_that_could_not_receive_is_a_mistake():
    """`bind = "Transmitter"`."""
    options = SmppProtocol(host="h", system_id="me", password=LiteralKey(b"x"), bind="Transmitter")
    with pytest.raises(ConfigError, match="nothing is received"):
        make_channels(reactor).receive(options)


@pytest_twisted.ensureDeferred
async def test_parts_leave_at_the_agreed_rate():
    """Counted as the provider counts, and evenly."""
    async with world() as around:
        arrivals = []

        def script(_):
            arrivals.append(reactor.seconds())

        around.smsc.script = script
        rate = Throttle.parse("50/s,max_burst=1")
        await around.deliver(
            *[text("a" * 400, f"+1555000000{number}@sms") for number in range(4)], max_submit_rate=rate
        )
        assert len(arrivals) == 12
        assert arrivals[-1] - arrivals[0] >= 0.02 * 9
        assert around.channel(max_submit_rate=Throttle.parse("5/s")).open(make_request()).max_batch == 5


@given(st.integers(1, 500), st.integers(1, 60), st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_no_second_has_more_than_its_share(limit, period, pauses):
    """Whatever the pauses between tries, a rate is kept but for its burst."""
    pacer, now, sent = Pacer(Throttle(limit, period)), 1000.0, []
    for pause in pauses:
        now += pause
        if pacer.wait(now) == 0:
            pacer.count(now)
            sent.append(now)
    for start in sent:
        count = sum(start <= one < start + period for one in sent)
        assert count <= limit * (1 + 0.1 / period) + 2


@pytest_twisted.ensureDeferred
async def test_whatever_the_smsc_sends_is_answered():
    """Random bodies: each deliver_sm and data_sm gets one response, and the bind lives."""
    chance = random.Random(7)
    async with world() as around:
        await around.deliver()
        connection, real, answers = around.smsc.connections[0], around.smsc.received, []

        def received(on, pdu):
            if pdu.command & RESPONSE and pdu.command != Command.ENQUIRE_LINK | RESPONSE:
                answers.append(pdu.sequence)
            real(on, pdu)

        around.smsc.received = received
        whole = encode_short_message(ShortMessage(short_message=RECEIPT, esm_class=4))
        for number in range(1, 301):
            kind = chance.randrange(3)
            body = chance.randbytes(chance.randrange(60)) if kind else bytearray(whole)
            if not kind:
                body[chance.randrange(len(body))] = chance.randrange(256)
            connection.say(chance.choice((Command.DELIVER_SM, Command.DATA_SM)), 0, number, bytes(body))
        await until(lambda: len(answers) == 300)
        assert sorted(answers) == list(range(1, 301))
        ((outcome,),) = await around.deliver()
        assert outcome.verdict is Verdict.DELIVERED
        assert len(around.smsc.binds) == 1

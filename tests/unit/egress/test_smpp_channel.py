"""Texts out by SMPP, against an SMSC that does what it is told, right or wrong."""

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from support.fakes_egress import make_message, make_request
from support.scripted_smsc import HANG_UP, SILENCE
from support.smpp_world import NUMBER, text, until, world
from twisted.internet import defer, reactor, task

from kumotwist.config.table import Table
from kumotwist.config.translate import SmsWordsOptions
from kumotwist.core.errors import ConfigError
from kumotwist.core.ids import IdGenerator
from kumotwist.core.outcome import Scope, Verdict
from kumotwist.core.units import Throttle
from kumotwist.egress.protocols import protocol
from kumotwist.egress.sms.smpp.content import words_of
from kumotwist.egress.sms.smpp.pacer import Pacer
from kumotwist.proto.smpp.commands import Command, Status, Tag
from kumotwist.proto.smpp.fields import Tlv
from kumotwist.proto.smpp.messages import Address
from kumotwist.proto.translate.body import read
from kumotwist.proto.translate.sms import words as translated


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
        message.id = IdGenerator(reactor.seconds)()
        await around.deliver(message, flash=True, priority=2, default_region="GB")
        (sent,) = around.smsc.submitted
        assert sent.destination == Address("442079460000", 1, 1)
        assert sent.source == Address("442079460001", 1, 1)
        assert (sent.data_coding, sent.priority) == (0x18, 2)
        assert sent.short_message.decode("utf-16-be") == "日本"
        assert sent.validity_period in ("000000010000000R", "000000005959000R")


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
        assert outcome.response.content == "ESME_RINVDSTADR (0x0B), the recipient's number is not valid (part 1 of 3)"
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
async def test_no_text_goes_out_without_a_number_a_text_or_room():
    """Each says why, at once and for good."""
    async with world() as around:
        cases = [
            (text(to="bob@sms"), {}, "no phone number"),
            (make_message(NUMBER, body=b"\r\n\r\n"), {}, "nothing to read"),
            (make_message(NUMBER, body="Subject: \u200b\r\n\r\n\u200b".encode()), {}, "nothing to read"),
            (text("a" * 400), {"max_segments": 2, "cut": False}, "more than 2 parts"),
            (text(), {"sender": "a name that is much too long"}, "longer than 20"),
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
        ({"port": 99999}, "from 1 to 65535"),
        ({"dest_ton": 300}, "from 0 to 255"),
        ({"service_type": "a" * 6}, "more than 5 octets"),
        ({"enquire_link_interval": "0s"}, "longer than 0s"),
        ({"system_id": "a" * 16}, "more than 15 octets"),
        ({"system_type": "a" * 13}, "more than 12 octets"),
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
    monkeypatch.setattr("kumotwist.egress.sms.smpp.flow.MAX_WAIT", 0.05)
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

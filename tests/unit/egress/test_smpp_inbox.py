"""What an SMSC sends us: receipts and texts of subscribers, each kept and answered."""

import random

import pytest
import pytest_twisted
from support.smpp_world import RECEIPT, until, world
from twisted.internet import defer

from kumotwist.core.errors import Overload, Rejection
from kumotwist.core.outcome import Verdict
from kumotwist.core.receipt import ReceiptState
from kumotwist.proto.smpp.commands import RESPONSE, Command, Status, Tag
from kumotwist.proto.smpp.fields import Tlv
from kumotwist.proto.smpp.messages import ShortMessage, encode_short_message


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
async def test_a_text_that_policy_is_busy_with_is_finished_before_the_goodbye():
    """A stop does not make the SMSC send it again."""
    async with world() as around:
        await around.deliver()
        slow, begun = defer.Deferred(), defer.Deferred()

        async def receive(sms):
            begun.callback(None)
            await slow
            around.texts.received.append(sms)

        around.texts.receive = receive
        around.smsc.deliver(b"STOP")
        await begun
        closing = defer.Deferred.fromCoroutine(around.channels.close())
        slow.callback(None)
        await closing
        assert around.smsc.acknowledged == [Status.ESME_ROK]
        assert around.smsc.unbinds == 1


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

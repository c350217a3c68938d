"""The SMPP channel under random answers: every recipient gets one outcome, and the window is kept."""

import random

import pytest
import pytest_twisted
from support.fakes_egress import make_channels, make_message, make_request
from support.scripted_smsc import SILENCE, ScriptedSmsc
from twisted.internet import defer, reactor

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.option import Duration
from kumotwist.core.outcome import Verdict
from kumotwist.egress.sms.smpp.options import SmppProtocol
from kumotwist.proto.smpp.commands import RESPONSE, Command, Status

WINDOW = 4
ANSWERS = [None] * 12 + [Status.ESME_RTHROTTLED, Status.ESME_RMSGQFUL, Status.ESME_RSYSERR, Status.ESME_RINVDSTADR]


class Watching(ScriptedSmsc):
    """Notes how many messages are without answer, and answers in random order, some time."""

    def __init__(self, chance, answers):
        super().__init__(lambda _: chance.choice(answers))
        self.chance = chance
        self.is_holding = True
        self.without_answer = self.most = 0

    def received(self, connection, pdu):
        if pdu.command == Command.SUBMIT_SM:
            self.without_answer += 1
            self.most = max(self.most, self.without_answer)
        super().received(connection, pdu)
        if pdu.command == Command.SUBMIT_SM:
            reactor.callLater(self.chance.random() / 200, self.answer_some)

    def answer_some(self):
        self.chance.shuffle(self.held)
        for connection, sequence, status, message_id in self.held:
            if connection in self.connections:
                self.without_answer -= 1
                body = message_id.encode() + b"\0" if status == 0 else b""
                connection.say(Command.SUBMIT_SM | RESPONSE, status, sequence, body)
        self.held = []


@pytest.mark.parametrize("silence", [[], [SILENCE]])
@pytest.mark.parametrize("seed", range(4))
@pytest_twisted.ensureDeferred
async def test_everything_is_accounted_for(seed, silence):
    """Three sessions over one bind; parts, throttles, refusals, silence and answers out of order."""
    chance = random.Random(seed)
    channels = make_channels(reactor)
    async with Watching(chance, ANSWERS + silence).start(reactor) as smsc:
        protocol = SmppProtocol(
            host="127.0.0.1",
            port=smsc.port,
            system_id="me",
            password=LiteralKey(b"x"),
            window=WINDOW,
            # Where every message is answered, nothing may be in doubt, however late this machine hears the answer.
            response_timeout=Duration(0.5 if silence else 30.0),
            max_rest=Duration(0.01),
        )
        channel = channels.channel_for(protocol)

        async def session(number):
            session = channel.open(make_request())
            await session.connect()
            found = []
            for batch in range(3):
                numbers = [f"+1555{number}{batch}{one}0000@sms" for one in range(3)]
                bodies = [b"Subject: x\r\n\r\n" + b"text " * chance.choice((1, 80)) for _ in numbers]
                messages = [make_message(*numbers, body=body) for body in bodies]
                outcomes = await session.deliver(messages)
                assert [len(one) for one in outcomes] == [3] * 3
                found.extend(outcome for one in outcomes for outcome in one)
            await session.close()
            return found

        results = await defer.gatherResults([defer.Deferred.fromCoroutine(session(number)) for number in range(3)])
        outcomes = [one for each in results for one in each]
        assert len(outcomes) == 81
        assert {Verdict.DELIVERED, Verdict.TRANSIENT, Verdict.PERMANENT} >= {one.verdict for one in outcomes}
        ids = [name for one in outcomes if one.remote_id for name in one.remote_id.split()]
        assert len(ids) == len(set(ids))
        assert all(one.parts == len(one.remote_id.split()) for one in outcomes if one.verdict is Verdict.DELIVERED)
        assert any(one.is_ambiguous for one in outcomes) <= bool(silence)
        assert silence or smsc.most <= WINDOW
        await channels.close()

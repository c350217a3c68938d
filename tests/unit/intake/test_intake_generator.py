"""Deferred generation: the request waits in the queue, then makes its messages."""

import json

import pytest
import pytest_twisted
from attrs import define
from support.fakes_http import House, simple

from kumotwist.config.egress import PathConfig, SourceConfig
from kumotwist.config.queue import GeneratorProtocol, QueueConfig
from kumotwist.core import queuename
from kumotwist.core.address import NULL_SENDER
from kumotwist.core.connection import AuthInfo, Identity
from kumotwist.core.errors import PolicyError, ResolveError, SpoolFull
from kumotwist.core.interfaces import OpenRequest
from kumotwist.core.outcome import Verdict
from kumotwist.core.records import RecordType
from kumotwist.intake.http.origin import Origin
from kumotwist.intake.http.refusals import RequestProblem
from kumotwist.intake.inject.generator import GeneratorChannel, InternalQueues
from kumotwist.intake.inject.injection import GENERATOR_QUEUE, InjectResult
from kumotwist.intake.inject.request import decode

ORIGIN = Origin(AuthInfo("192.0.2.7", (Identity("alice", "HttpBasicAuth"),), ("senders",)), "192.0.2.1")


def deferred(**more):
    request = simple({"text_body": "hi {{ name }}"}) | {
        "recipients": [{"email": "a@b.c", "name": "A"}, {"email": "d@e.f", "name": "D"}],
        "deferred_generation": True,
    }
    return decode(json.dumps(request | more).encode())


@pytest.fixture
def house():
    return House(can_defer=True)


async def generate(house, message):
    channel = GeneratorChannel(house.injection)
    name = queuename.parse(GENERATOR_QUEUE)
    assert await channel.site_name(name.delivery_domain) == GENERATOR_QUEUE
    session = channel.open(
        OpenRequest(queue_name=name, site=GENERATOR_QUEUE, source=SourceConfig(name="unspecified"), path=PathConfig())
    )
    await session.connect()
    ((outcome,),) = await session.deliver([message])
    await session.close()
    return outcome


@pytest_twisted.ensureDeferred
async def test_the_request_itself_is_queued(house):
    """The reply counts 0; what is saved, recorded and queued is one message that holds the request."""
    assert await house.injection.inject(deferred(), ORIGIN) == InjectResult()
    (message,) = house.queue.messages
    assert message.queue_name() == GENERATOR_QUEUE
    assert message.recipients == (NULL_SENDER,)
    assert message.id in house.store.saved
    assert len(house.recorder.of(RecordType.RECEPTION)) == 1
    assert json.loads(message.body)["deferred_generation"] is False


@pytest_twisted.ensureDeferred
async def test_the_messages_are_as_if_made_at_once(house):
    """They carry who asked and from where, though the client is long gone."""
    seen = []
    house.policy.handlers["http_message_generated"] = lambda message, auth: seen.append(auth)
    await house.injection.inject(deferred(), ORIGIN)
    outcome = await generate(house, house.queue.messages[0])
    assert outcome.verdict is Verdict.DELIVERED
    assert outcome.response.to_line() == "250 ok: 2 generated"
    assert outcome.peer.delivery_protocol == "HttpInjectionGenerator"
    _, first, second = house.queue.messages
    assert b"hi A" in first.body
    assert b"hi D" in second.body
    assert first.meta["http_auth"] == "alice"
    assert first.meta["received_from"] == "192.0.2.7"
    assert first.meta["received_via"] == "192.0.2.1"
    assert seen == [ORIGIN.auth, ORIGIN.auth]


@pytest_twisted.ensureDeferred
async def test_failed_recipients_are_told_in_the_record(house):
    """Nobody hears the reply any more, so the delivery record says what failed."""
    request = deferred(recipients=[{"email": "a@b.c"}, {"email": "nope"}])
    await house.injection.inject(request, ORIGIN)
    outcome = await generate(house, house.queue.messages[0])
    assert outcome.response.content.startswith("ok: 1 generated, 1 failed: nope: recipient email nope")


@pytest_twisted.ensureDeferred
async def test_overload_is_tried_again_later(house):
    """When the house is full the request waits; what is no request is bounced."""
    await house.injection.inject(deferred(), ORIGIN)
    message = house.queue.messages[0]
    house.gate.text = "load shedding"
    assert (await generate(house, message)).verdict is Verdict.TRANSIENT
    house.gate.text = None
    house.store.failure = SpoolFull("no room")
    assert (await generate(house, message)).verdict is Verdict.TRANSIENT
    house.store.failure = None
    message.set_body(b"{}")
    assert (await generate(house, message)).verdict is Verdict.PERMANENT


@pytest_twisted.ensureDeferred
async def test_a_wrong_request_is_refused_at_once(house):
    """A template that cannot work is told to the client, not found out later."""
    with pytest.raises(RequestProblem, match=r"failed parsing field 'content\.text_body'"):
        await house.injection.inject(deferred(content={"text_body": "{{"}), ORIGIN)
    house.queue.unresolvable[GENERATOR_QUEUE] = ResolveError("no")
    with pytest.raises(RequestProblem, match="Error: no"):
        await house.injection.inject(deferred(), ORIGIN)


@pytest_twisted.ensureDeferred
async def test_without_the_queue_the_messages_are_made_at_once():
    """Where nobody delivers the generator queue the reply still counts 0, and nothing waits for ever."""
    house = House(can_defer=False)
    assert await house.injection.inject(deferred(), ORIGIN) == InjectResult()
    assert len(house.queue.messages) == 2


@define
class Policy:
    """Answers for no queue at all."""

    epoch: int = 3

    async def queue_config(self, name):
        raise PolicyError(f"asked for {name}")


@pytest_twisted.ensureDeferred
async def test_policy_is_not_asked_for_the_generator_queue():
    """Its retry interval is 10 s (semantics a.2); every other queue is policy's."""
    queues = InternalQueues(Policy())
    config = await queues.queue_config(queuename.parse(GENERATOR_QUEUE))
    assert config == QueueConfig(protocol=GeneratorProtocol(), retry_interval=10.0)
    assert queues.epoch == 3
    with pytest.raises(PolicyError, match=r"asked for example\.com"):
        await queues.queue_config(queuename.parse("example.com"))

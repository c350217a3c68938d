"""What operators ask of a worker over HTTP: health, metrics, the story of a message, an explanation.

Public: `operator_routes`, `answers`, `Answer`, `open_search`. Nothing can go wrong while they are made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec

from kumotwist.admin import explain, liveness, message, metrics
from kumotwist.admin.explanation import Told
from kumotwist.admin.explanation import explain as explain_message
from kumotwist.admin.queued import explain_queued
from kumotwist.config.queue import Protocol
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import Channel, Gatekeeper, MessageStore
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.intake.inject.generator import InternalQueues
from kumotwist.intake.smtp.imagined import ImaginedSession, Visitor
from kumotwist.lua.policy import Policy
from kumotwist.net.blocking import BlockingThreads
from kumotwist.net.router import Route
from kumotwist.queue.manager import Manager
from kumotwist.records.metrics import merge
from kumotwist.records.receipts.desk import ReceiptDesk
from kumotwist.records.search import LogSearch
from kumotwist.service.assembly.ground import Ground
from kumotwist.service.house import House

#: The answer to a question that is put to all workers.
Answer: TypeAlias = Callable[[bytes], Awaitable[bytes]]
#: Such questions: what they have of a message, and what would become of it.
MESSAGE: Final = "message"
EXPLAIN: Final = "explain"
#: Searches of the logs at a time, and how many may wait. Ours: they are for people.
SEARCHES: Final = 1
MAX_SEARCHES: Final = 16


def open_search(ground: Ground) -> BlockingThreads:
    """The threads on which logs are searched."""
    return BlockingThreads(ground.reactor, "kumo-search", SEARCHES, MAX_SEARCHES)


def answers(
    ground: Ground, policy: Policy, store: MessageStore, queue: Manager, channel_for: Callable[[Protocol], Channel]
) -> dict[str, Answer]:
    """Ours, by topic. Of a message of our spool: a JSON list of what it is; what would become of it, or nothing."""
    policies = policy, InternalQueues(policy)

    async def describe(spool_id: bytes) -> bytes:
        found = await store.load((SpoolId(spool_id),))
        return msgspec.json.encode([message.describe(one) for one in found if one is not None])

    async def explain_it(spool_id: bytes) -> bytes:
        now, present = ground.reactor.seconds(), queue.present()
        told = await explain_queued(SpoolId(spool_id), store, policies, channel_for, now, present)
        return msgspec.json.encode(told) if told is not None else b""

    return {MESSAGE: describe, EXPLAIN: explain_it}


def operator_routes(
    ground: Ground,
    policy: Policy,
    gate: Gatekeeper,
    queue: Manager,
    channel_for: Callable[[Protocol], Channel],
    desk: ReceiptDesk,
    search: BlockingThreads,
) -> tuple[Route, ...]:
    """All of them; what concerns the whole machine is asked of all workers."""
    house = ground.house
    sources = message.Sources(
        live=lambda spool_id: _living(house, spool_id),
        records=LogSearch.of(policy.declarations.local_logs, search).records_of,
        ledger=desk.story_of,
    )
    return (
        *liveness.routes(gate),
        *metrics.routes(lambda: _text(house), lambda: _json(house)),
        *message.routes(sources),
        *explain.routes(_tell(ground, policy, queue, channel_for), lambda spool_id: house.ask(EXPLAIN, spool_id)),
    )


def _tell(
    ground: Ground, policy: Policy, queue: Manager, channel_for: Callable[[Protocol], Channel]
) -> Callable[[EnvelopeAddress, tuple[EnvelopeAddress, ...], explain.Question], Awaitable[Told]]:
    async def tell(
        sender: EnvelopeAddress, recipients: tuple[EnvelopeAddress, ...], question: explain.Question
    ) -> Told:
        asked = Message(ground.ids(), sender, recipients, dict(question.meta), question.content.encode())
        now, present = ground.reactor.seconds(), queue.present()
        session = None
        if question.intake == "smtp":
            visitor = Visitor(question.peer, question.helo, question.user, question.listener)
            listeners = tuple(policy.declarations.esmtp_listeners)
            session = ImaginedSession(policy, listeners, visitor, ground.hostname)
        return await explain_message(asked, policy, channel_for, now, session, present)

    return tell


async def _living(house: House, spool_id: SpoolId) -> list[JsonObject]:
    """What the workers have of a message."""
    answers = await house.ask(MESSAGE, spool_id)
    return [found for answer in answers if answer for found in msgspec.json.decode(answer)]


async def _text(house: House) -> bytes:
    return merge(await house.collect()).text()


async def _json(house: House) -> bytes:
    return merge(await house.collect()).json()

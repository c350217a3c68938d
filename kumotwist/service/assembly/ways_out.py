"""The ways out: the channels, and the queue in front of them.

Public: `WaysOut`, `make_channels`, `make_queue`. Nothing can go wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from attrs import frozen

from kumotwist.config.queue import Protocol
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import Channel, Gatekeeper
from kumotwist.core.suspect import Suspect
from kumotwist.egress.registry import Channels
from kumotwist.intake.inject.generator import InternalQueues
from kumotwist.intake.sms import SmsIntake
from kumotwist.net.http import HttpTransports
from kumotwist.net.mx import mail_hosts
from kumotwist.net.sqlite import SqliteFile
from kumotwist.queue.announcer import Announcer
from kumotwist.queue.budgetstate import BudgetState
from kumotwist.queue.manager import Manager
from kumotwist.queue.routestate import RouteState
from kumotwist.queue.surroundings import Knowledge, Surroundings
from kumotwist.service.assembly.books import Books
from kumotwist.service.assembly.ground import Ground
from kumotwist.service.assembly.thought import Thought
from kumotwist.spool.rocks import RocksStore


@frozen(eq=False)
class WaysOut:
    """The queue, the channels, and the HTTP connections that these share with whoever needs some."""

    queue: Manager
    channels: Channels
    transports: HttpTransports


def make_channels(
    ground: Ground,
    thought: Thought,
    books: Books,
    transports: HttpTransports,
    gate: Callable[[], Gatekeeper],
) -> Channels:
    """All channels; texts that come in over theirs go to policy, as `gate` allows."""
    reactor = ground.reactor
    return Channels(
        resolver=thought.resolver,
        keys=thought.keys,
        lua=thought.policy,
        clock=reactor,
        reactor=reactor,
        hostname=ground.hostname,
        http=transports,
        receipts=books.receipts.desk,
        sms=SmsIntake(thought.policy, books.records, gate, ground.ids, reactor),
    )


def make_queue(
    ground: Ground,
    thought: Thought,
    store: RocksStore,
    state: SqliteFile,
    books: Books,
    channel_for: Callable[[Protocol], Channel],
    suspects: Mapping[SpoolId, Suspect],
) -> Manager:
    """The queue manager; `suspects` are messages that the process before us ended with."""
    house = ground.house
    around = Surroundings(
        store=store,
        policy=InternalQueues(thought.policy),
        recorder=books.records,
        limits=ground.limits,
        channel_for=channel_for,
        clock=ground.reactor,
        tasks=ground.tasks,
    )
    known = Knowledge(
        route_state=RouteState(state, house.index, ground.reactor),
        mail_hosts=partial(mail_hosts, thought.resolver),
        heard_of=books.receipts.desk.heard_of,
        watch=books.receipts.awaited,
        budgets=BudgetState(state, ground.reactor, house.index),
        announcer=Announcer(state, house.index, ground.reactor) if house.count > 1 else None,
    )
    return Manager(around, known, suspects=suspects)

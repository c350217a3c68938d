"""What the queue is given by the house: the parts that it works with, and what is known beyond this process.

Public: `Surroundings`, `Knowledge`.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import Factory, frozen

from kumotwist.config.queue import Protocol
from kumotwist.core.interfaces import Budgeting, Channel, Limits, MessageStore, QueuePolicy, ReceiptWatch, Recorder
from kumotwist.net.clock import Clock
from kumotwist.net.tasks import Tasks
from kumotwist.queue.announcer import Announcer
from kumotwist.queue.classes import MailHosts, no_hosts
from kumotwist.queue.overdue import HeardOf
from kumotwist.queue.routestate import RouteState
from kumotwist.queue.watch import MemoryWatch


@frozen(kw_only=True, eq=False)
class Surroundings:
    """The parts of the house without which there is no queue."""

    store: MessageStore
    policy: QueuePolicy
    recorder: Recorder
    limits: Limits
    channel_for: Callable[[Protocol], Channel]
    clock: Clock
    tasks: Tasks


@frozen(kw_only=True, eq=False)
class Knowledge:
    """What route tables and fallbacks learn from and keep, here and elsewhere; each part may be wanting."""

    #: Keeps what route tables learn; without it they forget with the process.
    route_state: RouteState | None = None
    #: Tells who takes a domain's mail, for classes by mailbox provider; by itself these are well-known domains or the
    #: domain.
    mail_hosts: MailHosts = no_hosts
    #: Tells of which messages a receipt has come; without it nobody waits for one.
    heard_of: HeardOf | None = None
    #: Knows what receipts said, for messages on a fallback; by itself, that they never say anything.
    watch: ReceiptWatch = Factory(MemoryWatch)
    #: Counts what has been taken of routes' budgets; without it they are counted in memory.
    budgets: Budgeting | None = None
    #: Sees to it that one of several workers tells of a move; without it, this one tells of all.
    announcer: Announcer | None = None

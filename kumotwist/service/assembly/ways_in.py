"""The ways in, short of the listeners: who may come, and what is made of a request.

Public: `WaysIn`, `make_ways_in`. Nothing can go wrong.
"""

from __future__ import annotations

from attrs import frozen

from kumotwist.intake.admission import Admission
from kumotwist.intake.inject.generator import GeneratorChannel
from kumotwist.intake.inject.injection import Injection
from kumotwist.intake.send import idempotency
from kumotwist.intake.send.sending import Sending
from kumotwist.lua.policy import Policy
from kumotwist.net.sqlite import SqliteFile
from kumotwist.queue.manager import Manager
from kumotwist.service.assembly.books import Books
from kumotwist.service.assembly.ground import Ground
from kumotwist.service.assembly.storage import Storage
from kumotwist.service.gate import Gate, memory_limit
from kumotwist.spool.shards import shards_of


@frozen(kw_only=True, eq=False)
class WaysIn:
    """All ways lead through `admission`, and ask `gate` first."""

    gate: Gate
    admission: Admission
    #: KumoMTA's API for mail, and the channel of what it puts off.
    injection: Injection
    generator: GeneratorChannel
    #: The API for any kind of address, and which requests it has answered.
    sending: Sending
    requests: idempotency.Keys


def make_ways_in(
    ground: Ground, policy: Policy, storage: Storage, state: SqliteFile, books: Books, queue: Manager
) -> WaysIn:
    """All of them."""
    reactor, store, index, count = ground.reactor, storage.store, ground.house.index, ground.house.count
    gate = Gate(memory_limit() // count, storage.space, lambda: store.is_healthy)
    admission = Admission(store, books.records, queue, reactor, storage.space, books.receipts.returns)
    injection = Injection(policy, admission, gate, ground.ids, reactor, ground.hostname, can_defer=True)
    return WaysIn(
        gate=gate,
        admission=admission,
        injection=injection,
        generator=GeneratorChannel(injection),
        sending=Sending(policy, admission, gate, ground.ids, reactor, ground.hostname),
        requests=idempotency.Keys(state, shards_of(index, count)[0], reactor),
    )

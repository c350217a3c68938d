"""What is written about messages: receipts that come and are awaited, the log of records, volumes.

Public: `Books`, `Receipts`, `make_receipts`, `make_volumes`, `open_records`. What can go wrong: ConfigError.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from attrs import frozen

from kumotwist.core.interfaces import Injector
from kumotwist.core.records import Record
from kumotwist.lua.policy import Policy
from kumotwist.net.sqlite import SqliteFile
from kumotwist.records.acct import AcctLog, NoAcctLog
from kumotwist.records.nodeid import node_id
from kumotwist.records.receipts.awaited import Awaited
from kumotwist.records.receipts.desk import ReceiptDesk
from kumotwist.records.receipts.returns import Learn, Returns
from kumotwist.records.recorder import RecordLog
from kumotwist.records.volume import VolumeBook
from kumotwist.service.assembly.ground import Ground
from kumotwist.spool.rocks import RocksStore


@frozen(eq=False)
class Receipts:
    """Where receipts come in, those by mail as well, and what waits for them."""

    desk: ReceiptDesk
    awaited: Awaited
    returns: Returns

    def note_handover(self, record: Record) -> None:
        """A message was handed over: what may be reported of it later is to find it."""
        self.desk.handovers.note(record)
        self.returns.note(record)


@frozen(eq=False)
class Books:
    """What the ways in and out write into."""

    receipts: Receipts
    records: RecordLog
    auditor: AcctLog | NoAcctLog


def make_receipts(
    ground: Ground, policy: Policy, state: SqliteFile, record: Callable[[Record], Awaitable[None]], learn: Learn
) -> Receipts:
    """All of them, on the state file; `record` takes the records of receipts, `learn` hears of reports by mail."""
    desk = ReceiptDesk(state, policy.declarations.receipts, ground.reactor, record)
    returns = Returns(state, ground.reactor, lambda: policy.handles("get_listener_domain"), learn)
    return Receipts(desk, Awaited(state, ground.house.index, ground.reactor), returns)


def make_volumes(ground: Ground, policy: Policy) -> VolumeBook | None:
    """The accounting database; None when policy wants none."""
    path = policy.declarations.accounting_db_path
    return VolumeBook(Path(path), ground.reactor) if path else None


def open_records(
    ground: Ground,
    policy: Policy,
    store: RocksStore,
    receipts: Receipts,
    volumes: VolumeBook | None,
    injector: Callable[[], Injector],
) -> RecordLog:
    """The log of records; what its hooks make is injected."""
    declared = policy.declarations
    return RecordLog.open(
        logs=declared.local_logs,
        hooks=declared.log_hooks,
        policy=policy,
        inject=lambda message: injector().inject(message),
        load_body=store.load_body,
        new_id=ground.ids,
        nodeid=node_id(ground.state_dir, os.environ),
        reactor=ground.reactor,
        note_handover=receipts.note_handover,
        account=volumes.count if volumes is not None else lambda _: None,
        classify=declared.classify,
    )

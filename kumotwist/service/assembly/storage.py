"""The spool, and the room on the disks that it and the logs stand on.

Public: `Storage`, `open_storage`. What can go wrong: ConfigError, SpoolInUse and what opening a shard raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from kumotwist.config.records import AcctLogConfig, LocalLogConfig
from kumotwist.config.spool import SpoolConfig
from kumotwist.core.errors import ConfigError
from kumotwist.core.interfaces import Room
from kumotwist.lua.declare import Declarations
from kumotwist.net.clock import sleep
from kumotwist.service.assembly.ground import Ground
from kumotwist.service.diskspace import Disk, DiskSpace, MinFree
from kumotwist.service.options import Settings
from kumotwist.spool.rocks import RocksStore
from kumotwist.spool.shards import SpoolInUse, shards_of

log: Final = Logger()

#: Seconds that a claim of the spool's shards is tried again: a predecessor that drains still holds them.
CLAIM_PATIENCE: Final = 20.0
#: Seconds between two tries.
CLAIM_PAUSE: Final = 0.25


@frozen(eq=False)
class Storage:
    """Our shards of the spool, open, and how much mail the disks still take."""

    store: RocksStore
    space: DiskSpace


async def open_storage(ground: Ground, declared: Declarations, acct_logs: Sequence[AcctLogConfig]) -> Storage:
    """Claim our shards; waits for a predecessor that is about to leave. `acct_logs` need room, too."""
    store: RocksStore | None = None
    house = ground.house
    # What is written and not yet in tables is owed to the disk: asked when there is a store.
    disks = _disks(ground.settings, declared, acct_logs, lambda: store.owed() * house.count if store else 0)
    space = DiskSpace(disks, house.count, lambda: store.make_room() if store else None)
    store = await _claim(ground, _spool_directory(ground.settings, declared), space)
    return Storage(store, space)


async def _claim(ground: Ground, directory: Path, room: Room) -> RocksStore:
    shards, reactor = shards_of(ground.house.index, ground.house.count), ground.reactor
    deadline = reactor.seconds() + CLAIM_PATIENCE
    is_said = False
    while True:
        try:
            return RocksStore.open(directory, shards, reactor, room)
        except SpoolInUse as error:
            if reactor.seconds() > deadline:
                raise
            if not is_said:
                log.warn("{error}; waiting up to {seconds:.0f} s for it", error=error, seconds=CLAIM_PATIENCE)
                is_said = True
        await sleep(reactor, CLAIM_PAUSE)


def _spool_directory(settings: Settings, declared: Declarations) -> Path:
    """Where the policy puts its `meta` spool; without one, under the state directory."""
    meta = declared.spools.get("meta")
    return Path(meta.path) if meta is not None else Path(settings.state_dir) / "spool"


def _disks(
    settings: Settings, declared: Declarations, acct_logs: Iterable[AcctLogConfig], owed: Callable[[], int]
) -> list[Disk]:
    """The file systems of mail, records and state, with the policy's own thresholds; the spool owes `owed()`."""
    logs: list[LocalLogConfig | AcctLogConfig] = [*declared.local_logs, *acct_logs]
    spool = str(_spool_directory(settings, declared))
    try:
        disks = [_disk(one, spool, f"{one.name} spool", owed) for one in declared.spools.values()] or [
            Disk(spool, owed=owed, name="data spool")
        ]
        disks += [_disk(one, one.log_dir, f"log dir {one.log_dir}") for one in logs]
    except ValueError as error:
        raise ConfigError(f"min_free_space, min_free_inodes: {error}") from error
    # The state file grows with receipts and idempotency keys, and without it neither is taken.
    return [*disks, Disk(settings.state_dir, name="state dir")]


def _disk(
    least: SpoolConfig | LocalLogConfig | AcctLogConfig, path: str, name: str, owed: Callable[[], int] = lambda: 0
) -> Disk:
    space, inodes = MinFree.parse(least.min_free_space), MinFree.parse(least.min_free_inodes)
    return Disk(path, space, inodes, owed, name)

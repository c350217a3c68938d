"""Options of the spool. Public: `SpoolConfig`."""

from __future__ import annotations

from typing import Literal

from kumotwist.config.option import option, options


@options
class SpoolConfig:
    """One `kumo.define_spool` call; KumoMTA knows a `data` and a `meta` spool."""

    name: Literal["data", "meta"] = option("Which of the two.")
    path: str = option("Its directory. The store lives beside the path of the `meta` spool.")
    kind: Literal["LocalDisk", "RocksDB"] = option(
        "KumoMTA's choice of store.", default="LocalDisk", no_effect="the store is always RocksDB"
    )
    flush: bool = option("Sync each write.", default=False, no_effect="each write is synced before it is acknowledged")

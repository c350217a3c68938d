"""Options of the spool. Public: `SpoolConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from kumotwist.config.option import option, options


@options
class SpoolConfig:
    """One `kumo.define_spool` call; KumoMTA knows a `data` and a `meta` spool."""

    name: Literal["data", "meta"] = option("Which of the two.")
    path: str = option("Its directory; the store keeps both in that of the `meta` spool.")
    kind: Literal["LocalDisk", "RocksDB"] = option(
        "KumoMTA's choice of store.",
        default="LocalDisk",
        no_effect="the store is always RocksDB",
        harmless=("RocksDB",),
    )
    flush: bool = option(
        "Sync each write.",
        default=False,
        no_effect="each write is synced before it is acknowledged",
        harmless=(True,),
    )
    min_free_space: str | int = option("Refuse mail below so much free disk: `10%` or octets.", default="10%")
    min_free_inodes: str | int = option("Refuse mail below so many free inodes: `10%` or a count.", default="10%")
    rocks_params: Mapping[str, object] = option(
        "KumoMTA's RocksDB tuning.", factory=dict, no_effect="the store is tuned for its own pattern of use"
    )

"""Where messages go that cannot be read or are given up: files for the operator, out of the daemon's way.

Public: `set_aside`. Each message becomes `corrupt/<id>.meta` and, when its
body could be read, `corrupt/<id>.eml` below the spool directory, or the same
below `given-up`. A disk that
refuses even that is named in the log; the message then stays in the store.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from kumotwist.spool.shards import sync_directory

log: Final = Logger()


def set_aside(
    directory: Path, spool_id: bytes, record: bytes, body: bytes | None, why: str, kind: str = "corrupt"
) -> Path | None:
    """Write what there is of a message under `directory`/`kind`; the place when it is safe there."""
    place = directory / kind
    name = spool_id.hex() or "empty"
    try:
        place.mkdir(exist_ok=True)
        _write(place / f"{name}.meta", record)
        if body is not None:
            _write(place / f"{name}.eml", body)
        sync_directory(place)
    except OSError as error:
        log.error("cannot set aside message {id} ({why}): {error}", id=name, why=why, error=error)
        return None
    log.error("message {id} was set aside in {place}: {why}", id=name, place=str(place), why=why)
    return place


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb", opener=_private) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

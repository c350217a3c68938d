"""Noticing that the policy's files have changed.

Public: `FileWatch`. Contents count, not times: a file that is written anew
with the same bytes changes nothing.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

#: What KumoMTA watches when nothing is said.
KUMOMTA_GLOBS: Final = tuple(f"/opt/kumomta/etc/**/*.{kind}" for kind in ("lua", "json", "toml", "yaml"))
#: Files looked at in one round, and octets read of each: more than any policy has, and a bound for `/**`.
MAX_FILES: Final = 10_000
MAX_OCTETS: Final = 16 << 20


def default_globs(policy: Path) -> tuple[str, ...]:
    """The policy itself, and Lua and data files beside it and in KumoMTA's directory."""
    beside = (str(policy.parent / f"*.{kind}") for kind in ("lua", "json", "toml", "yaml"))
    return (str(policy), *beside, *KUMOMTA_GLOBS)


class FileWatch:
    """The contents of the files that match some globs."""

    def __init__(self, globs: Sequence[str]) -> None:
        self.globs = tuple(globs)
        self._digests: dict[str, tuple[float, int, bytes]] = {}
        self._last = self._digest()

    def has_changed(self) -> bool:
        """Whether names or contents differ from the last time we were asked."""
        now = self._digest()
        changed = now != self._last
        self._last = now
        return changed

    def _digest(self) -> bytes:
        names = sorted({name for pattern in self.globs for name in glob.iglob(pattern, recursive=True)})[:MAX_FILES]
        whole = hashlib.sha256()
        for name in names:
            whole.update(name.encode(errors="replace") + b"\0" + self._of_file(name))
        self._digests = {name: self._digests[name] for name in names if name in self._digests}
        return whole.digest()

    def _of_file(self, name: str) -> bytes:
        """The digest of one file; read only when its time or size has changed."""
        try:
            status = Path(name).stat()
            known = self._digests.get(name)
            if known and known[:2] == (status.st_mtime, status.st_size):
                return known[2]
            with Path(name).open("rb") as file:
                digest = hashlib.sha256(file.read(MAX_OCTETS)).digest()
        except OSError:
            return b"unreadable"
        self._digests[name] = (status.st_mtime, status.st_size, digest)
        return digest

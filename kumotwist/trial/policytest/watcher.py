"""Ends a run that hangs where neither Lua nor Python can stop it: in `os.execute`, in a pattern that never ends.

A process of its own hears when each case begins, and kills the run when it has
heard nothing for too long. It needs nothing but Python and runs this file.

Public: `Watcher`.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import Self


class Watcher:
    """Watches over this process as long as the block runs."""

    def __init__(self, limit: float) -> None:
        """`limit`: real seconds that one case may take."""
        self._limit = limit
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(self._limit)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
        return self

    def note(self, case: str) -> None:
        """A case begins."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):  # it has been ended: nobody watches any more
                self._process.stdin.write(case.replace("\n", " ").encode("utf-8", "replace") + b"\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()


def watch(pid: int, limit: float) -> None:
    """Kill `pid` when nothing comes on standard input for `limit` seconds before it ends."""
    case = "the run"
    while select.select([0], [], [], limit)[0]:
        heard = os.read(0, 65536)
        if not heard:
            return
        case = heard.decode("utf-8", "replace").splitlines()[-1]
    sys.stderr.write(
        f"kumotwist policy-test: {case}: it hangs outside of Lua, in os.execute or a pattern, say, and is killed\n"
    )
    os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    watch(int(sys.argv[1]), float(sys.argv[2]))

"""The process itself: signals, exit status, file descriptors, user.

Public: `stop_on_signals`, `end_on_signals`, `die_when_stuck`, `exit_with`,
`raise_descriptor_limit`, `require_descriptors`, `keep_from_children`,
`affordable_connections`, `become`, `ids_of`, `announce`. Called by the supervisor, by worker processes, by the
single-process daemon and by what runs a policy without one.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import math
import os
import pwd
import resource
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from twisted.internet.task import LoopingCall

from kumotwist.core.errors import ConfigError
from kumotwist.spool.shards import SHARDS

#: All three mean a graceful stop, as they do to KumoMTA; there is no reload signal.
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: twistd puts its log in the place of `sys.stderr`.
_STDERR: Final = 2
#: Seconds of any time. A process that waits so long for one thing (a program that policy runs, a pipe that it reads)
#: serves nobody. Ours: longer than a disk or a debugger makes it wait, shorter than an operator needs to notice.
BLOCKED_AFTER: Final = 120.0
#: Files that a process has open without a shard and a connection: 25 counted; the others for segments of logs, DNS and
#: what waits to be closed.
_FILES_OF_A_PROCESS: Final = 64
#: Files that a shard with mail has open: five, its claim, and a few tables.
_FILES_OF_A_SHARD: Final = 12
#: Seconds of CPU time, over all threads, that may pass between two turns of the reactor. The policy's own
#: budget is 2 s; what takes this long is inside one C function, where nothing else can end it.
STUCK_AFTER: Final = 60.0


def announce(line: str) -> None:
    """Say `line` on the real stderr: other programs wait for these lines."""
    try:
        os.write(_STDERR, f"{line}\n".encode())
    except OSError:
        return


def stop_on_signals(stop: Callable[[], object]) -> None:
    """Have `stop` called, in the main thread, at SIGTERM, SIGINT and SIGHUP.

    To be called when the reactor runs: it replaces the reactor's own handlers,
    with which twistd would end by the signal and not with status 0.
    """

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()

    for number in STOP_SIGNALS:
        signal.signal(number, handle)


def end_on_signals() -> None:
    """Have SIGTERM, SIGINT and SIGHUP end this process at once, as they end any program.

    For what holds nothing that must be kept. A handler of Python's would wait
    for its turn, which a policy inside one long C function never gives.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def die_when_stuck(reactor: Any, seconds: float = STUCK_AFTER, blocked: float = BLOCKED_AFTER) -> None:
    """Have this process end, with a stack trace on stderr, when the reactor no longer turns.

    After `seconds` of CPU time by the kernel's signal, after `blocked` of any
    time by a thread that needs no interpreter, with status 1. Nothing that was
    acknowledged is lost; a supervisor or a service manager starts a new one.
    """
    faulthandler.register(signal.SIGVTALRM, file=_STDERR, chain=True)

    def wind_up() -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        faulthandler.dump_traceback_later(blocked, file=_STDERR, exit=True)

    loop = LoopingCall(wind_up)
    loop.clock = reactor
    loop.start(min(seconds, blocked) / 10.0)
    reactor.addSystemEventTrigger("after", "shutdown", faulthandler.cancel_dump_traceback_later)


def exit_with(status: int) -> None:
    """Make the process end with `status` once it ends in the ordinary way.

    twistd offers no way to say so, and its cleaning up (the pid file) should
    still happen.
    """

    def leave() -> None:
        sys.stdout.flush()
        os._exit(status)

    atexit.register(leave)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one, as KumoMTA does; the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            return soft
    return hard


def require_descriptors(workers: int) -> None:
    """Raises ConfigError when each of `workers` processes may open fewer files than it needs to do anything at all."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_OF_A_PROCESS + _FILES_OF_A_SHARD * math.ceil(SHARDS / max(workers, 1))
    if soft != resource.RLIM_INFINITY and soft < needed:
        raise ConfigError(
            f"a process may open {soft} files (`ulimit -Hn`), and with --workers {workers} each needs at "
            f"least {needed}, and one more for each connection: raise the limit (LimitNOFILE= of systemd)"
        )


def keep_from_children() -> None:
    """Have the files that were open when we started end with us: a worker gets what it is given and no more.

    A number at or above the limit, from before that was lowered, would also make starting one fail.
    """
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if int(name) > _STDERR:
                os.set_inheritable(int(name), False)


def affordable_connections(wanted: int, workers: int) -> int:
    """How many clients of the `wanted` a listener can have in `workers` processes.

    Half of the descriptors that a process may open; the other half is for the
    ways out, the spool and the logs. Who comes beyond is told so, where a
    process without descriptors could only hang up.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, workers * (soft // 2))


def become(user: str) -> None:
    """Drop to `user` and their groups for good. Raises ConfigError when that cannot be."""
    entry = _entry(user)
    if os.geteuid() == entry.pw_uid and os.getuid() == entry.pw_uid:
        return
    if os.geteuid() != 0:
        raise ConfigError(f"--user {user}: only root can become another user")
    os.initgroups(user, entry.pw_gid)
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def ids_of(user: str) -> tuple[int, int] | None:
    """What a child process is to become: uid and gid, or None when we are that user. Raises ConfigError."""
    entry = _entry(user)
    if os.geteuid() == entry.pw_uid:
        return None
    if os.geteuid() != 0:
        raise ConfigError(f"--user {user}: only root can become another user")
    return entry.pw_uid, entry.pw_gid


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(f"--user {user}: there is no such user") from None

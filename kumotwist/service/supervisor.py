"""The supervisor: binds the ports, keeps the workers running, speaks for all of them.

It takes no message and runs no policy, so it can stay small, privileged until
the ports are bound, and alive. A worker that dies is replaced by one with the
same number, which claims the same spool shards and so recovers what the dead
one had. A worker that dies young is replaced with growing delay, also while
the daemon starts for the first time; one that then ends by itself cannot
start, which ends the daemon, with status 1.

Public: `Supervisor` (a Twisted service).
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any, Final

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.core.errors import ConfigError
from kumotwist.core.units import Throttle
from kumotwist.service import lifecycle, listeners
from kumotwist.service.balance import Board
from kumotwist.service.limits import Ledger
from kumotwist.service.options import Settings
from kumotwist.service.supervisorend import SupervisorEnd

log: Final = Logger()

#: The descriptor at which a worker finds its end of the control pair.
CONTROL_FD: Final = 3
#: The descriptor of the board on which the workers count their connections.
BOARD_FD: Final = 4
#: A worker that lived shorter than this died young: the next one waits.
YOUNG: Final = 10.0
#: First delay before replacing a worker that died young, doubling up to the second.
BACKOFF_FIRST: Final = 0.5
BACKOFF_MOST: Final = 30.0
#: Signals that a process gets from others only; one that was told to stop in time ends with status 0.
_FROM_OTHERS: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
#: Beyond the drain bound a worker gets so long to flush and leave before it is killed.
KILL_GRACE: Final = 15.0


@define(eq=False)
class Worker:
    """One place among the workers, and the process that fills it now."""

    index: int
    end: SupervisorEnd | None = None
    process: Any = None
    started: float = 0.0
    deaths: int = 0
    is_ready: bool = False
    restart: Any = None
    ended: list[Deferred[None]] = field(factory=list)


class WorkerProcess(ProcessProtocol):
    """Tells the supervisor when the process has ended."""

    def __init__(self, supervisor: Supervisor, worker: Worker) -> None:
        self.supervisor = supervisor
        self.worker = worker

    def processEnded(self, reason: Failure) -> None:
        """All of it is gone, its pipes too."""
        self.supervisor.worker_ended(self.worker, reason)


class Supervisor(Service):
    """Runs `settings.workers` worker processes."""

    def __init__(self, settings: Settings, reactor: ReactorBase) -> None:
        self.settings = settings
        self.reactor: Any = reactor
        self.ledger = Ledger(self.reactor)
        self.board = Board.make(settings.workers)
        self.workers = [Worker(index) for index in range(settings.workers)]
        self._sockets: dict[tuple[str, int, str], socket.socket] = {}
        #: Why workers could not start; each reason is said once.
        self._said: set[str] = set()
        self._is_complete = False
        self._is_stopping = False
        self._uid_gid: tuple[int, int] | None = None

    def startService(self) -> None:
        """Start the workers once the reactor runs."""
        Service.startService(self)
        lifecycle.raise_descriptor_limit()
        lifecycle.keep_from_children()
        self.reactor.callWhenRunning(self._start)

    def stopService(self) -> Deferred[None]:
        """Let all workers drain; kill those that do not end."""
        self._is_stopping = True
        waiting = [self._stop(worker) for worker in self.workers]
        killer = self.reactor.callLater(self.settings.shutdown_timeout + KILL_GRACE, self._kill)
        done: Deferred[None] = DeferredList(waiting).addCallback(lambda _: killer.cancel() if killer.active() else None)
        return done

    # -- what workers ask (`control.Supervising`) -----------------------------------------------

    def listening_descriptor(self, scheme: str, ordinal: int, address: str) -> int:
        """The listening socket for this listener, bound when first asked for."""
        key = (scheme, ordinal, address)
        sock = self._sockets.get(key)
        if sock is None:
            sock = self._sockets[key] = listeners.bind(address)
            lifecycle.announce(f"{scheme} listener on {listeners.printable(sock)}")
        return sock.fileno()

    def worker_ready(self, index: int) -> None:
        """A worker takes messages."""
        self.workers[index].is_ready = True
        if not self._is_complete and all(worker.is_ready for worker in self.workers):
            self._is_complete = True
            if self.settings.user:
                lifecycle.become(self.settings.user)
                self._uid_gid = None
            lifecycle.announce("initialization complete")

    def worker_cannot_start(self, why: str) -> None:
        """A worker is about to end because of a mistake in its policy or its surroundings."""
        if why not in self._said:
            self._said.add(why)
            lifecycle.announce(f"kumotwist: {why}")

    def take(self, key: str, spec: Throttle, want: int) -> tuple[int, float]:
        """Draw from a machine-wide rate."""
        return self.ledger.take(key, spec, want)

    def give_back(self, key: str, spec: Throttle, count: int) -> None:
        """Take unused events back."""
        self.ledger.give_back(key, spec, count)

    def acquire(self, index: int, key: str, limit: int, waits: bool) -> bool:
        """One of `limit` slots for worker `index`."""
        return self.ledger.acquire(index, key, limit, waits)

    def release(self, index: int, key: str) -> None:
        """Take a slot back."""
        self.ledger.release(index, key)

    async def collect(self) -> list[bytes]:
        """The numbers of all workers that answer."""
        ends = [worker.end for worker in self.workers if worker.end is not None]
        snapshots = await gatherResults([Deferred.fromCoroutine(end.snapshot()) for end in ends])
        return [snapshot for snapshot in snapshots if snapshot is not None]

    async def ask(self, topic: str, question: bytes) -> list[bytes]:
        """What all workers answer that can."""
        ends = [worker.end for worker in self.workers if worker.end is not None]
        answers = await gatherResults([Deferred.fromCoroutine(end.ask(topic, question)) for end in ends])
        return [answer for answer in answers if answer is not None]

    def bump_epoch(self) -> None:
        """Have every worker read the policy anew."""
        for worker in self.workers:
            if worker.end is not None:
                worker.end.bump_epoch()

    # -- processes ------------------------------------------------------------------------------

    def worker_ended(self, worker: Worker, reason: Failure) -> None:
        """Replace `worker`, unless the daemon is stopping or never came to life."""
        worker.process = worker.end = None
        self.ledger.forget(worker.index)
        self.board.clear(worker.index)
        ended, worker.ended = worker.ended, []
        for waiting in ended:
            waiting.callback(None)
        if self._is_stopping:
            return
        if not self._is_complete and not _was_killed(reason):
            self._give_up(worker, reason)
            return
        worker.is_ready = False
        delay = self._delay_of(worker)
        log.error(
            "worker {index} ended: {reason}; a new one starts in {delay} s",
            index=worker.index,
            reason=_why(reason),
            delay=delay,
        )
        worker.restart = self.reactor.callLater(delay, self._spawn, worker)

    def _start(self) -> None:
        lifecycle.stop_on_signals(self._signalled)
        try:
            lifecycle.require_descriptors(self.settings.workers)
            self._uid_gid = lifecycle.ids_of(self.settings.user) if self.settings.user else None
        except ConfigError as error:
            self.worker_cannot_start(str(error))
            lifecycle.exit_with(1)
            self._signalled()
            return
        for worker in self.workers:
            self._spawn(worker)

    def _signalled(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self.reactor.callFromThread(self.reactor.stop)

    def _spawn(self, worker: Worker) -> None:
        worker.restart = None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:
            ours.setblocking(False)
            end = SupervisorEnd(self, worker.index)
            self.reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: end))
            uid, gid = self._uid_gid or (None, None)
            worker.end, worker.started = end, self.reactor.seconds()
            worker.process = self.reactor.spawnProcess(
                WorkerProcess(self, worker),
                sys.executable,
                [sys.executable, "-m", "kumotwist.service.workerprocess", str(worker.index), self.settings.to_json()],
                env=dict(os.environ),
                uid=uid,
                gid=gid,
                childFDs={1: 1, 2: 2, CONTROL_FD: theirs.fileno(), BOARD_FD: self.board.fd},
            )

    def _delay_of(self, worker: Worker) -> float:
        if self.reactor.seconds() - worker.started >= YOUNG:
            worker.deaths = 0
            return 0.0
        worker.deaths += 1
        return min(BACKOFF_FIRST * 2.0 ** (worker.deaths - 1), BACKOFF_MOST)

    def _give_up(self, worker: Worker, reason: Failure) -> None:
        if self._said:
            lifecycle.exit_with(1)
            self._signalled()
        else:
            self._fail(f"worker {worker.index} did not start: {_why(reason)}")

    def _fail(self, text: str) -> None:
        log.critical("{text}", text=text)
        lifecycle.exit_with(1)
        self._signalled()

    def _stop(self, worker: Worker) -> Deferred[None]:
        ended: Deferred[None] = Deferred()
        if worker.restart is not None:
            worker.restart.cancel()
            worker.restart = None
        if worker.process is None:
            ended.callback(None)
            return ended
        worker.ended.append(ended)
        _signal(worker, signal.SIGTERM)
        return ended

    def _kill(self) -> None:
        for worker in self.workers:
            if worker.process is not None:
                log.error("worker {index} did not stop in time; killed", index=worker.index)
                lifecycle.exit_with(1)
                _signal(worker, signal.SIGKILL)


def _was_killed(reason: Failure) -> bool:
    """Whether somebody else ended a process: an operator, or the kernel for want of memory."""
    ended_by = getattr(reason.value, "signal", None)
    return reason.check(ProcessDone) is not None or ended_by in _FROM_OTHERS


def _why(reason: Failure) -> str:
    """How a process ended, in an operator's words."""
    if getattr(reason.value, "signal", None) == signal.SIGVTALRM:
        seconds = f"{lifecycle.STUCK_AFTER:.0f} s"
        return f"it had computed in one call for {seconds}; where, is in the stack trace before this line"
    ended_by, status = getattr(reason.value, "signal", None), getattr(reason.value, "exitCode", None)
    if ended_by is not None:
        return f"it was killed by signal {ended_by} ({signal.strsignal(ended_by)})"
    return f"it ended with status {status}" if status is not None else reason.getErrorMessage()


def _signal(worker: Worker, number: signal.Signals) -> None:
    try:
        os.kill(worker.process.pid, number)
    except (ProcessLookupError, TypeError):
        return

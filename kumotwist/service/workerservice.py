"""A worker as a Twisted service: started when the reactor runs, drained at the stop.

The same for the one process of `--workers 0` and for each process under a
supervisor; they differ in their `House`.

Public: `WorkerService`. A worker that cannot start says why on stderr, once
for all workers, and ends the process with status 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kumotwist.core.errors import ConfigError, PolicyError, StateUnavailable
from kumotwist.service import allocator, lifecycle
from kumotwist.service.house import House
from kumotwist.service.options import Settings
from kumotwist.service.worker import Worker

log: Final = Logger()


class WorkerService(Service):
    """Runs one `Worker` in `house`, which is made with the service's `snapshot` and `bump_epoch`."""

    def __init__(
        self,
        settings: Settings,
        make_house: Callable[[WorkerService], House],
        reactor: Any,
        set_log_filter: Callable[[str], object],
    ) -> None:
        self.settings = settings
        self.reactor = reactor
        self._house = make_house(self)
        self._worker = Worker(settings, self._house, reactor, set_log_filter)
        self._is_stopping = False
        self._starting: Deferred[None] | None = None
        self._has_failed = False
        #: Fires when it has been told why we end: until then a stop keeps the way to the supervisor open.
        self._telling: Deferred[None] | None = None

    def startService(self) -> None:
        """Start once the reactor runs."""
        Service.startService(self)
        lifecycle.raise_descriptor_limit()
        allocator.keep_freed_memory()
        self.reactor.callWhenRunning(self._start)

    def stopService(self) -> Deferred[None]:
        """Drain, flush, close."""
        self._is_stopping = True
        if self._starting is not None:
            self._starting.cancel()
        return Deferred.fromCoroutine(self._drain())

    def stop(self) -> None:
        """Begin to stop; may be called from a signal handler, and more than once."""
        if not self._is_stopping:
            self._is_stopping = True
            self.reactor.callFromThread(self.reactor.stop)

    def snapshot(self) -> bytes:
        """The worker's numbers."""
        return self._worker.snapshot()

    async def answer(self, topic: str, question: bytes) -> bytes:
        """Answer a question that is put to all workers."""
        return await self._worker.answer(topic, question)

    def bump_epoch(self) -> None:
        """Read the policy anew."""
        self._worker.bump_epoch()

    def _start(self) -> None:
        lifecycle.stop_on_signals(self.stop)
        starting = Deferred.fromCoroutine(self._started())
        if not self._has_failed:
            self._starting = starting

    async def _started(self) -> None:
        try:
            lifecycle.require_descriptors(self.settings.workers)
            await self._worker.start()
        except CancelledError:
            log.info("stopped while starting")
        except (ConfigError, PolicyError, StateUnavailable) as error:
            await self._fail(str(error))
        except Exception as error:
            log.failure("the worker cannot start")
            await self._fail(f"{type(error).__name__}: {error}")
        self._starting = None

    async def _drain(self) -> None:
        if self._telling is not None:
            await self._telling
        try:
            await self._worker.stop()
        except Exception:
            log.failure("the worker did not stop cleanly")
            lifecycle.exit_with(1)

    async def _fail(self, text: str) -> None:
        # The start is over: a stop that comes meanwhile, since another worker cannot start either, cancels nothing.
        self._starting, self._has_failed = None, True
        telling: Deferred[None] = Deferred()
        self._telling = telling
        await self._house.cannot_start(text)
        self._telling = None
        telling.callback(None)
        lifecycle.exit_with(1)
        self.stop()

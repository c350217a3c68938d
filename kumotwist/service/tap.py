"""What twistd asks for behind `twistd kumo`: `Options` and `makeService`.

Two shapes of daemon come out of the same settings: the supervisor with its
worker processes, or, with `--workers 0`, one worker in this very process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService, Service
from twisted.logger import ILogObserver

from kumotwist.core.errors import ConfigError
from kumotwist.service import diagnostics, lifecycle
from kumotwist.service.options import Options, Settings
from kumotwist.service.supervisor import Supervisor

if TYPE_CHECKING:
    from kumotwist.service.workerservice import WorkerService

__all__ = ["Options", "makeService"]


class Daemon(MultiService):
    """The daemon's top service; brings its own log observer into the application."""

    def __init__(self, observer: diagnostics.TextObserver | None) -> None:
        MultiService.__init__(self)
        self.observer = observer

    def setServiceParent(self, parent: Any) -> None:
        """Join the application, which asks its log observer of us unless twistd was told otherwise."""
        if self.observer is not None and hasattr(parent, "setComponent"):
            parent.setComponent(ILogObserver, self.observer)
        MultiService.setServiceParent(self, parent)


def makeService(options: Options) -> Service:
    """The daemon for these options. Raises SystemExit: of a UsageError twistd would print a traceback here."""
    settings: Settings = options.settings
    if settings.validate_only or settings.script:
        raise SystemExit("kumotwist: --validate and --script belong to `kumotwist run` and `kumotwist validate`")
    try:
        observer = diagnostics.observer(settings.diag_log_dir, settings.diag_filter)
    except ConfigError as error:
        raise SystemExit(f"kumotwist: {error}") from None
    daemon = Daemon(None if _logs_elsewhere(options) else observer)
    _part(settings, observer).setServiceParent(daemon)
    return daemon


def _part(settings: Settings, observer: diagnostics.TextObserver) -> Service:
    from twisted.internet import reactor

    clock: Any = reactor
    if settings.workers:
        return Supervisor(settings, clock)
    # A supervisor runs no policy and moves no mail: without what does, it starts in less than half the time.
    from kumotwist.service.house import Alone
    from kumotwist.service.workerservice import WorkerService

    def house(service: WorkerService) -> Alone:
        return Alone(clock, settings.user, service.snapshot, service.bump_epoch, service.answer)

    clock.callWhenRunning(lifecycle.die_when_stuck, clock)
    return WorkerService(settings, house, clock, observer.set_filter)


def _logs_elsewhere(options: Options) -> bool:
    """Whether twistd's own options say where the log goes."""
    parent: Any = options.parent
    return parent is not None and bool(parent.get("logfile") or parent.get("syslog"))

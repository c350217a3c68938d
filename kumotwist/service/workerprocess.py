"""The main function of a worker process, started by the supervisor.

`python -m kumotwist.service.workerprocess INDEX SETTINGS-AS-JSON`, with the
control pair at descriptor 3 and the board of connections at 4. When the supervisor dies, the worker drains and
ends: nobody would replace it, and a new supervisor wants its spool shards.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Factory
from twisted.logger import globalLogBeginner

from kumotwist.service import reactor as lean
from kumotwist.service.options import Settings


def main() -> None:
    """Run one worker until it is told to stop."""
    index, settings = int(sys.argv[1]), Settings.from_json(sys.argv[2])
    # The reactor before anything that could import another one.
    lean.install()
    from twisted.internet import reactor

    from kumotwist.service import diagnostics

    label = f"worker-{index} "
    observer: Any = diagnostics.observer(settings.diag_log_dir, settings.diag_filter, label)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    run(index, settings, reactor, observer.set_filter)


def run(index: int, settings: Settings, reactor: Any, set_log_filter: Callable[[str], object]) -> None:
    """The worker's life, with `reactor`."""
    from kumotwist.service import lifecycle
    from kumotwist.service.balance import Board, Seat
    from kumotwist.service.house import Supervised
    from kumotwist.service.supervisor import BOARD_FD, CONTROL_FD
    from kumotwist.service.workerend import WorkerEnd
    from kumotwist.service.workerservice import WorkerService

    seat = Seat(Board(BOARD_FD, settings.workers), index)

    def house(service: WorkerService) -> Supervised:
        end = WorkerEnd(service.snapshot, service.bump_epoch, service.stop, service.answer)
        reactor.adoptStreamConnection(CONTROL_FD, socket.AF_UNIX, Factory.forProtocol(lambda: end))
        os.close(CONTROL_FD)
        return Supervised(index, settings.workers, end, seat, reactor)

    service = WorkerService(settings, house, reactor, set_log_filter)
    service.startService()
    lifecycle.die_when_stuck(reactor)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


if __name__ == "__main__":
    main()

"""What every part of a worker stands on. Public: `Ground`."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from attrs import field, frozen

from kumotwist.core.ids import IdGenerator
from kumotwist.net.tasks import Tasks
from kumotwist.service.house import House
from kumotwist.service.options import Settings
from kumotwist.service.redislimits import SharedLimits


@frozen(eq=False)
class Ground:
    """`reactor` is Twisted's; `hostname` is the machine's name, said where nothing else is configured.

    `limits` are the whole machine's, or those of all machines that share a server.
    """

    settings: Settings
    house: House
    reactor: Any
    hostname: str = field(factory=socket.gethostname, init=False)
    tasks: Tasks = field(factory=Tasks, init=False)
    ids: IdGenerator = field(init=False)
    limits: SharedLimits = field(init=False)

    @ids.default
    def _ids_by_the_clock(self) -> IdGenerator:
        return IdGenerator(self.reactor.seconds)

    @limits.default
    def _limits_of_the_house(self) -> SharedLimits:
        return SharedLimits(self.house.limits, self.reactor)

    @property
    def state_dir(self) -> Path:
        """Where workers keep what is theirs together."""
        return Path(self.settings.state_dir)

"""A message that policy was handling when its process ended: chance, or the cause.

A handler that is stuck in one C function, or that breaks the process, takes
the worker down, and after the restart the same message comes up again. So
such ends are counted by message. One waits longer after each; after too many
the message is given up, and the worker lives.

Public: `Suspect`, `PATIENCE_ALONE`, `PATIENCE_IN_COMPANY`.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

#: Ends of a process that a message may be there for, when the handler had nothing else in hand. Ours: an operator's
#: kill -9 hits the same message twice in a row hardly ever, and three times never.
PATIENCE_ALONE: Final = 3
#: The same when it was one of a batch, most of which is innocent.
PATIENCE_IN_COMPANY: Final = 10
#: Seconds before it is tried again after the first end, four times as many after each further one. Ours.
_FIRST_DELAY: Final = 60.0
_LONGEST_DELAY: Final = 3600.0


@frozen
class Suspect:
    """How often, and what handled it last; `is_fresh`: the last time was just now."""

    event: str
    alone: int = 0
    in_company: int = 0
    is_fresh: bool = True

    @property
    def is_given_up(self) -> bool:
        """Whether it is not to be tried any more."""
        return self.alone >= PATIENCE_ALONE or self.in_company >= PATIENCE_IN_COMPANY

    @property
    def delay(self) -> float:
        """Seconds to wait before the next try."""
        return min(_FIRST_DELAY * 4.0 ** (self.alone + self.in_company - 1), _LONGEST_DELAY)

    @property
    def account(self) -> str:
        """What happened, for records and logs."""
        times = self.alone + self.in_company
        return f"the process ended {times} time{'s' * (times > 1)} while policy handled this message in {self.event}"

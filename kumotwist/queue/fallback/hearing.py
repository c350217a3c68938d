"""Hearing: what is known of a message since it was handed over.

Receipts tell most of it. That a stage has handed over beside which the next one
had begun is known here alone, from the moment that it happens.

Public: `Hearing`. What can go wrong: the ledger of receipts cannot be read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from attrs import define, field

from kumotwist.core.course import Course
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import ReceiptWatch
from kumotwist.core.receipt import Heard, ReceiptState
from kumotwist.net.clock import Clock

#: Messages that were handed over beside another stage, remembered. Ours: a few MB; that one hears of it when it is next
#: tried.
_MAX_BESIDE: Final = 10_000


@define(eq=False)
class Hearing:
    """Asks `watch`, and remembers the rest."""

    watch: ReceiptWatch
    clock: Clock
    #: What was handed over by a stage beside which the next one had begun; a restart forgets it.
    _handed_beside: OrderedDict[SpoolId, Heard] = field(factory=OrderedDict, init=False)

    async def heard(self, spool_id: SpoolId, course: Course) -> Sequence[Heard]:
        """All that was heard of a message on `course`, and of its doubles. Raises what the watch raises."""
        if course.stage is None and not course.is_handed_over:
            return ()  # nothing can be heard of what has not been handed over by anything
        # After a start nobody knows that we wait.
        self.watch.expect(spool_id)
        said = [heard for one in (spool_id, *course.beside) for heard in await self.watch.heard(one)]
        return said + [self._handed_beside[one] for one in course.beside if one in self._handed_beside]

    def note_beside(self, spool_id: SpoolId, course: Course) -> None:
        """The double that stayed on the stage before has been handed over: that may be enough for what went on."""
        self._handed_beside[spool_id] = Heard(course.at, ReceiptState.ACCEPTED, self.clock.seconds())
        if len(self._handed_beside) > _MAX_BESIDE:
            self._handed_beside.popitem(last=False)

"""What is under way on a fallback: messages that are set out, and taken up again when their stage is over.

Once a second those are withdrawn from their ready queues whose deadline has
come, or of which something was heard; what only waits for a receipt is looked
at where it waits. What is on the wire first hears its outcome.

Public: `UnderWay`. Nothing can go wrong: news that are missed are read when the message is next taken up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field

from kumotwist.core.course import Course
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import ReceiptWatch
from kumotwist.core.message import Message
from kumotwist.net.clock import Clock
from kumotwist.net.tasks import Tasks
from kumotwist.queue.ready import Item
from kumotwist.queue.routing import Routing
from kumotwist.queue.scheduled import ScheduledQueue
from kumotwist.queue.waiting import Waiting


@define(eq=False)
class UnderWay:
    """Messages with a course that are on their way by a table.

    `take_ready` takes those that it is asked for out of the ready queues, `park` has them taken up when they are due.
    """

    routing: Routing
    watch: ReceiptWatch
    waiting: Waiting
    clock: Clock
    tasks: Tasks
    park: Callable[[ScheduledQueue, Message], None]
    take_ready: Callable[[Callable[[Item], bool]], list[Item]]
    _messages: dict[SpoolId, Message] = field(factory=dict, init=False)
    _is_asking: bool = field(default=False, init=False)

    def add(self, message: Message) -> None:
        """A message with a course has been set out; it may have to be withdrawn."""
        self._messages[message.id] = message

    def tick(self, now: float) -> None:
        """Once a second: withdraw what is not handed over at its deadline; ask for news of receipts."""
        late: set[SpoolId] = set()
        for spool_id, message in list(self._messages.items()):
            course = message.course
            if course is None or self.routing.traveller(message) is None:
                del self._messages[spool_id]
            elif _is_over(course, now):
                late.add(spool_id)
        if late:
            self._withdraw(late)
        if not self._is_asking and (self._messages or self.waiting.has_courses):
            self._is_asking = True
            self.tasks.spawn("news of receipts", self._ask())

    async def _ask(self) -> None:
        try:
            news = await self.watch.news()
        finally:
            self._is_asking = False
        elsewhere = {spool_id for spool_id in news if not self.waiting.look_at(spool_id)}
        self._withdraw(elsewhere & self._messages.keys())

    def _withdraw(self, wanted: Iterable[SpoolId]) -> None:
        """Take messages out of their ready queues, to be taken up."""
        if wanted:
            for message, queue in self.take_ready(lambda item: item[0].id in wanted):
                self._turn_back(queue, message)

    def turns_back(self, queue: ScheduledQueue, message: Message) -> bool:
        """Whether the deadline came while its way was looked for: it is then taken up again."""
        is_late = message.course is not None and _is_over(message.course, self.clock.seconds())
        if is_late:
            self._turn_back(queue, message)
        return is_late

    def _turn_back(self, queue: ScheduledQueue, message: Message) -> None:
        message.due = self.clock.seconds()
        self.park(queue, message)


def _is_over(course: Course, now: float) -> bool:
    return course.deadline is not None and course.deadline <= now

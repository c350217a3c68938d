"""Events of the records: `core.interfaces.RecordPolicy`."""

from __future__ import annotations

from kumotwist.core.message import Message
from kumotwist.lua.hooks.base import Hooks


class RecordHooks(Hooks):
    """What log files and log hooks ask."""

    async def should_enqueue_log_record(self, message: Message, hook_name: str) -> bool:
        """Whether a log hook's message is to be queued; without a handler it is not."""
        return bool(await self.ask("should_enqueue_log_record", message, hook_name))

    async def filter_record(self, event: str, message: Message) -> bool:
        """Whether a record about `message` is to be logged. Raises PolicyError when there is no such event."""
        results = await self.program.run_required(event, message)
        return bool(results and results[0])

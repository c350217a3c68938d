"""The record log: where every event in the life of a message arrives.

One record is counted, written to the local logs that want it, and offered to
the log hooks that want it; `records.dispositions` gives it its JSON form once.

Public: `RecordLog` (the `Recorder` of `core.interfaces`). Configuring it may
raise `ConfigError`; `record` never raises: what a log or a hook cannot do it
says in the diagnostic log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.records import LocalLogConfig, LogHookConfig
from kumotwist.core.errors import ConfigError
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import RecordPolicy
from kumotwist.core.message import Message
from kumotwist.core.records import Record, RecordType
from kumotwist.core.stats import Sample
from kumotwist.net.tasks import Tasks
from kumotwist.net.threads import ReactorClock
from kumotwist.records import dispositions
from kumotwist.records.classify import Classify, uncategorized
from kumotwist.records.fields import LoadBody
from kumotwist.records.hooks import LOG_RECORD, LogHook
from kumotwist.records.journal import LocalLog
from kumotwist.records.totals import Totals

log: Final = Logger()


def _ignore(_: Record) -> None:
    """Nobody keeps a ledger."""


@define(eq=False)
class RecordLog:
    """Local logs, hooks and totals of one worker."""

    nodeid: str
    _journals: dict[RecordType, tuple[LocalLog, ...]]
    _hooks: dict[RecordType, tuple[LogHook, ...]]
    _tasks: Tasks
    _note_handover: Callable[[Record], None]
    _account: Callable[[Record], None]
    _classify: Classify
    _totals: Totals = field(factory=Totals, init=False)

    @classmethod
    def open(
        cls,
        *,
        logs: Sequence[LocalLogConfig],
        hooks: Sequence[LogHookConfig],
        policy: RecordPolicy,
        inject: Callable[[Message], Awaitable[None]],
        load_body: LoadBody,
        new_id: Callable[[], SpoolId],
        nodeid: str,
        reactor: ReactorClock,
        note_handover: Callable[[Record], None] = _ignore,
        account: Callable[[Record], None] = _ignore,
        classify: Classify = uncategorized,
    ) -> RecordLog:
        """Set up logs and hooks; `inject` and `load_body` are first called with the first record.

        `note_handover` is called with each Delivery record, `account` with each record;
        `classify` tells what kind of failure a record is about.

        Raises ConfigError: two hooks of one name, an unusable directory, a bad
        template or record type.
        """
        names = [one.name for one in hooks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"there are two log hooks named {twice!r}")
        tasks = Tasks()
        made_hooks = [LogHook(one, policy, inject, load_body, new_id, tasks) for one in hooks]
        journals = [LocalLog(one, policy, load_body, reactor) for one in logs]
        return cls(
            nodeid,
            {kind: tuple([one for one in journals if one.wants(kind)]) for kind in RecordType},
            {kind: tuple([one for one in made_hooks if one.wants(kind)]) for kind in RecordType},
            tasks,
            note_handover,
            account,
            classify,
        )

    async def record(self, record: Record) -> None:
        """Count, log and offer one record; waits for full logs and for hooks that store messages."""
        self._totals.count(record)
        self._account(record)
        if record.type is RecordType.DELIVERY:
            self._note_handover(record)
        kind = record.type
        journals, hooks = self._journals[kind], self._hooks[kind]
        if not journals and not hooks:
            return
        try:
            built = dispositions.build(record, self.nodeid, self._classify)
            for journal in journals:
                await journal.record(record, built)
            if hooks and built.reception_protocol != LOG_RECORD:
                for hook in hooks:
                    await hook.record(record, built)
        except CancelledError:
            raise
        except Exception:
            log.failure("a {kind} record was lost", kind=kind.value)

    async def close(self) -> None:
        """End hooks that are under way, then write what waits and finish the logs."""
        await self._tasks.close()
        for journal in dict.fromkeys(one for journals in self._journals.values() for one in journals):
            await journal.close()

    def samples(self) -> Iterator[Sample]:
        """Totals, and the state of each log and hook."""
        yield from self._totals.samples()
        for table in (self._journals, self._hooks):
            for sink in dict.fromkeys(one for sinks in table.values() for one in sinks):
                yield from sink.samples()

"""The bounce classification of a record: what kind of failure it tells of, for readers of logs.

Public: `Classifier`, `uncategorized`. Without rules every record is
`Uncategorized`, as in KumoMTA before `configure_bounce_classifier`. What can go
wrong: ConfigError for a rule that is no regular expression.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import regex
from twisted.logger import Logger

from kumotwist.config.bounces import BounceRule
from kumotwist.core.errors import ConfigError
from kumotwist.core.records import Record, RecordType

log: Final = Logger()

Classify: TypeAlias = Callable[[Record], str]

UNCATEGORIZED: Final = "Uncategorized"
#: Seconds for one rule: ours, for a pattern that backtracks without end.
TIMEOUT: Final = 0.1
#: Characters of a reply that are looked at: ours, several lines of SMTP.
MAX_REPLY: Final = 4096
#: The types that tell of a failure: KumoMTA's.
_FAILURES: Final = frozenset(
    {
        RecordType.BOUNCE,
        RecordType.TRANSIENT_FAILURE,
        RecordType.EXPIRATION,
        RecordType.ADMIN_BOUNCE,
        RecordType.REJECTION,
        RecordType.OOB,
        RecordType.FEEDBACK,
    }
)


def uncategorized(_record: Record) -> str:
    """What every record is without rules."""
    return UNCATEGORIZED


class Classifier:
    """Rules, with a memory of what they said lately. The first rule that matches wins."""

    def __init__(self, rules: Sequence[BounceRule], known: int, unknown: int) -> None:
        """`known` and `unknown` bound how many replies are remembered, of a class and of none."""
        self._rules = [(rule, _compiled(rule)) for rule in rules]
        self._known: OrderedDict[str, str] = OrderedDict()
        self._unknown: OrderedDict[str, str] = OrderedDict()
        self._bounds = known, unknown

    def __call__(self, record: Record) -> str:
        """The class of what a record tells of."""
        if record.type not in _FAILURES:
            return UNCATEGORIZED
        return self.of_reply(record.response.to_line()[:MAX_REPLY])

    def of_reply(self, line: str) -> str:
        """The class of a reply on one line, its code first."""
        for memory in (self._known, self._unknown):
            if line in memory:
                memory.move_to_end(line)
                return memory[line]
        label = self._matched(line)
        is_known = label != UNCATEGORIZED
        memory, bound = (self._known, self._bounds[0]) if is_known else (self._unknown, self._bounds[1])
        memory[line] = label
        if len(memory) > bound:
            memory.popitem(last=False)
        return label

    def _matched(self, line: str) -> str:
        for rule, pattern in self._rules:
            try:
                if pattern.search(line, timeout=TIMEOUT) is not None:
                    return rule.label
            except TimeoutError:
                log.warn("the bounce rule {pattern!r} takes too long for a reply", pattern=rule.pattern)
        return UNCATEGORIZED


def _compiled(rule: BounceRule) -> regex.Pattern[str]:
    try:
        return regex.compile(rule.pattern, regex.VERSION1)
    except (regex.error, RecursionError) as error:
        raise ConfigError(f"bounce rule for {rule.label}: {rule.pattern!r}: {error}") from None

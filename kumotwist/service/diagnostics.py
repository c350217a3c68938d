"""The diagnostic log: Twisted's logger as lines on stderr or in files of a directory.

`KUMOTWIST_LOG` or KumoMTA's `KUMOD_LOG` (or `--diag-filter`) chooses levels
as KumoMTA does: `info`, `warn,kumotwist.queue=debug`. Names that are not
modules of ours are ignored, so KumoMTA's own filters do no harm.

Public: `observer`, `Filter`. An unknown level is a ConfigError at start.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import Final, TextIO, cast

from attrs import define, field, frozen
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, formatEvent
from twisted.python.logfile import DailyLogFile
from zope.interface import implementer

from kumotwist.core.errors import ConfigError

_LEVELS: Final = {
    "trace": LogLevel.debug,
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "warning": LogLevel.warn,
    "error": LogLevel.error,
    "off": LogLevel.critical,
}
_ORDER: Final = {
    level: rank
    for rank, level in enumerate((LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error, LogLevel.critical))
}
#: Libraries that log each connection at info level.
_QUIET: Final = {"twisted": "warn", "treq": "warn", "kumotwist": "info", "log_legacy": "warn"}


@frozen
class Filter:
    """Least level by name of the logger; the longest prefix that matches decides."""

    levels: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, spec: str | None) -> Filter:
        """Read `level` and `name=level` parts separated by commas. Raises ConfigError."""
        levels = {"": "info", **_QUIET}
        for part in (spec or "").split(","):
            name, equals, level = part.strip().rpartition("=")
            if not level:
                continue
            if level.lower() not in _LEVELS:
                known = ", ".join(_LEVELS)
                raise ConfigError(f"unknown level {level!r} in log filter {spec!r}; known: {known}")
            levels[name if equals else ""] = level.lower()
            if not equals:
                levels["kumotwist"] = level.lower()
        ranked = ((name, _ORDER[_LEVELS[level]]) for name, level in levels.items())
        return cls(tuple(sorted(ranked, key=lambda pair: -len(pair[0]))))

    def passes(self, event: LogEvent) -> bool:
        """Whether `event` is to be written."""
        rank = _ORDER.get(cast("LogLevel", event.get("log_level")), 1)
        namespace = str(event.get("log_namespace", ""))
        return next(rank >= least for name, least in self.levels if namespace.startswith(name))


@implementer(ILogObserver)
@define(eq=False)
class TextObserver:
    """Writes one line per event, with the traceback of a failure below it."""

    out: TextIO
    filter: Filter
    label: str = ""
    _broken: bool = field(default=False, init=False)

    def set_filter(self, spec: str) -> None:
        """Show by another filter from now on. Raises ConfigError."""
        self.filter = Filter.parse(spec)

    def __call__(self, event: LogEvent) -> None:
        if self._broken or not self.filter.passes(event):
            return
        try:
            self.out.write(self._line(event))
            self.out.flush()
        except (OSError, ValueError):
            # Nobody is left to tell: a closed stderr must not stop mail.
            self._broken = True

    def _line(self, event: LogEvent) -> str:
        when = dt.datetime.fromtimestamp(event.get("log_time", 0.0), dt.UTC).isoformat(timespec="milliseconds")
        level = getattr(event.get("log_level"), "name", "info").upper()
        text = eventAsText(event, includeTimestamp=False, includeSystem=False) or formatEvent(event)
        where = str(event.get("log_namespace", "-"))
        return f"{when.replace('+00:00', 'Z')} {level:>5} {self.label}{where}: {text}\n"


def observer(diag_log_dir: str | None, spec: str | None, label: str = "") -> TextObserver:
    """The observer for this process; `label` begins each line's origin (`worker-1 `)."""
    chosen = Filter.parse(spec or os.environ.get("KUMOTWIST_LOG") or os.environ.get("KUMOD_LOG"))
    if diag_log_dir is None:
        return TextObserver(sys.__stderr__ or sys.stderr, chosen, label)
    directory = Path(diag_log_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        name = f"kumotwist.{label.strip()}.log" if label else "kumotwist.log"
        return TextObserver(cast("TextIO", DailyLogFile(name, str(directory))), chosen, "")
    except OSError as error:
        raise ConfigError(f"--diag-log-dir {diag_log_dir}: {error.strerror}") from error

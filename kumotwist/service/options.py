"""Command line options of the daemon, the same for `twistd kumo` and `kumotwist run`.

Public: `Options` (the parser that twistd asks for), `Settings` (what it
parsed, as one value that also travels to worker processes as JSON).
A wrong option ends the start with usage text and status 1.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import attrs
from attrs import frozen
from twisted.python import usage

from kumotwist.spool.shards import SHARDS

#: Where KumoMTA looks when no --policy is given.
DEFAULT_POLICY: Final = "/opt/kumomta/etc/policy/init.lua"
#: The spool of a policy that defines none.
DEFAULT_STATE_DIR: Final = "/var/spool/kumotwist"
#: Enough for a transaction in flight to get its last reply from most peers; one that gets none is
#: tried again after the restart. systemd's own stop timeout is 90 s.
DEFAULT_SHUTDOWN_TIMEOUT: Final = 60.0


@frozen(kw_only=True)
class Settings:
    """What the operator asked for. Paths are absolute; `workers` 0 means all in one process."""

    policy: str
    state_dir: str
    workers: int
    user: str | None = None
    diag_log_dir: str | None = None
    diag_filter: str | None = None
    shutdown_timeout: float = DEFAULT_SHUTDOWN_TIMEOUT
    validate_only: bool = False
    script: bool = False
    script_args: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The form `from_json` reads."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The settings of the supervisor, read in a worker process."""
        values = json.loads(text)
        values["script_args"] = tuple(values["script_args"])
        return cls(**values)


class Options(usage.Options):
    """Parses the arguments behind `twistd kumo`."""

    synopsis = "[options] [-- script arguments]"
    longdesc = "A message handler that runs KumoMTA policies: SMTP and HTTP in, Lua decides, SMTP and HTTP out."
    optParameters = [  # noqa: N815 (Twisted's name)
        ["policy", None, DEFAULT_POLICY, "The Lua policy to run."],
        ["state-dir", None, DEFAULT_STATE_DIR, "Directory of the spool when the policy defines none."],
        ["workers", None, None, "Worker processes; 0: everything in this process. [default: the cores, at most 16]"],
        ["user", None, None, "Become this user once the ports are bound (needs root)."],
        ["diag-log-dir", None, None, "Write the diagnostic log into files in this directory, not to stderr."],
        ["diag-filter", None, None, "Diagnostic levels, `info` or `warn,kumotwist.queue=debug`. [default: $KUMOD_LOG]"],
        ["shutdown-timeout", None, str(DEFAULT_SHUTDOWN_TIMEOUT), "Seconds to finish what is on the wire at a stop."],
    ]
    optFlags = [  # noqa: N815 (Twisted's name)
        ["validate", None, "Check the policy and exit; no port is opened."],
        ["script", None, "Run the policy's `main` event with the arguments behind `--` and exit."],
    ]

    def parseArgs(self, *args: str) -> None:
        """Take what stands behind the options: arguments of a script."""
        self["script-args"] = args

    def postOptions(self) -> None:
        """Check the values against each other. Raises UsageError."""
        self.settings = _settings(self)


def _settings(options: Options) -> Settings:
    if options["script-args"] and not options["script"]:
        raise usage.UsageError(f"unexpected argument {options['script-args'][0]!r}")
    return Settings(
        policy=str(Path(options["policy"]).absolute()),
        state_dir=str(Path(options["state-dir"]).absolute()),
        workers=_workers(options["workers"]),
        user=options["user"],
        diag_log_dir=options["diag-log-dir"] and str(Path(options["diag-log-dir"]).absolute()),
        diag_filter=options["diag-filter"],
        shutdown_timeout=_seconds(options["shutdown-timeout"]),
        validate_only=bool(options["validate"]),
        script=bool(options["script"]),
        script_args=tuple(options["script-args"]),
    )


def _workers(text: str | None) -> int:
    if text is None:
        return min(len(os.sched_getaffinity(0)), SHARDS)
    if not text.isdecimal() or int(text) > SHARDS:
        raise usage.UsageError(f"--workers is a number from 0 to {SHARDS}, the shards of a spool, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise usage.UsageError(f"--shutdown-timeout is a number of seconds, not {text!r}")
    return seconds

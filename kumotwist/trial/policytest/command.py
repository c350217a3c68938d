"""`kumotwist policy-test DIR`: run the tests of a policy that its users wrote in Lua.

Public: `main`. Exit status 0 when all passed, 1 when one failed or too few
lines ran, 2 for a wrong command line, when there is nothing to run, and when a
report cannot be written.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from kumotwist.trial.commandline import CommandLine
from kumotwist.trial.policytest.report import as_junit, as_lcov, as_object, summary, told
from kumotwist.trial.policytest.result import Outcome, Result
from kumotwist.trial.policytest.running import PATIENCE, PATTERNS, files_of, run
from kumotwist.trial.policytest.watcher import Watcher

#: Real seconds that a case may take beyond its time, until it is not asked any more to end. Ours: a handler's budget
#: of two seconds of CPU time, on a machine that is busy with thirty others.
_GRACE: Final = 60.0
#: Seconds that one case may be given. Ours: nobody means less or more.
_MIN_TIMEOUT: Final = 0.001
_MAX_TIMEOUT: Final = 86_400.0


def main(arguments: Sequence[str]) -> int:
    """Run `arguments` and return the exit status."""
    options = _parser().parse_args(arguments)
    if not options.place.exists():
        return _refused(f"there is no {options.place}")
    tell = (lambda _: None) if options.json else _tell
    with Watcher(options.timeout + _GRACE) as watcher:
        result = run(files_of(options.place), options.filter, tell, options.timeout, watcher.note)
    if not result.outcomes:
        named = f" with {options.filter!r} in its name" if options.filter else ""
        return _refused(f"there is no test{named} in {options.place}; they are in {' and '.join(PATTERNS)}")
    try:
        _write(options.junit, as_junit, result)
        _write(options.lcov, as_lcov, result)
    except OSError as error:
        return _refused(f"cannot write {error.filename}: {error.strerror}")
    if options.json:
        sys.stdout.write(json.dumps(as_object(result), indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(summary(result, options.coverage)) + "\n")
    if result.share < options.min_coverage:
        sys.stderr.write(f"kumotwist policy-test: {options.min_coverage:g} % of the lines have to run\n")
        return 1
    return 0 if result.has_passed else 1


def _parser() -> CommandLine:
    parser = CommandLine(
        prog="kumotwist policy-test",
        description="Run the Lua tests of a policy. Exit status: 0 all passed; 1 a case failed or too few lines ran; "
        "2 a wrong command line, nothing to run, or a report that cannot be written.",
    )
    add = parser.add_argument
    add("place", type=Path, metavar="DIR", help=f"where {' and '.join(PATTERNS)} are, or one file")
    add("-k", "--filter", default="", metavar="TEXT", help="only cases with this in their names")
    add("--coverage", action="store_true", help="tell of each file of the policy which lines did not run")
    add("--min-coverage", type=_percent, default=0.0, metavar="PERCENT", help="exit status 1 when fewer lines ran")
    add("--lcov", type=Path, metavar="FILE", help="write which lines ran as an LCOV tracefile")
    add("--junit", type=Path, metavar="FILE", help="write what became of each case as JUnit XML")
    add("--json", action="store_true", help="everything on standard output, for programs")
    add(
        "--timeout",
        type=_seconds,
        default=PATIENCE,
        metavar="SECONDS",
        help="real time that one case may take (%(default)g)",
    )
    return parser


def _percent(text: str) -> float:
    return _between(text, 0.0, 100.0, "a number from 0 to 100")


def _seconds(text: str) -> float:
    return _between(text, _MIN_TIMEOUT, _MAX_TIMEOUT, "a number of seconds, from a thousandth to a day")


def _between(text: str, least: float, most: float, what: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return found


def _refused(why: str) -> int:
    sys.stderr.write(f"kumotwist policy-test: {why}\n")
    return 2


def _write(file: Path | None, form: Callable[[Result], bytes], result: Result) -> None:
    if file is not None:
        file.write_bytes(form(result))


def _tell(outcome: Outcome) -> None:
    sys.stdout.write("\n".join((*told(outcome), "")))
    sys.stdout.flush()

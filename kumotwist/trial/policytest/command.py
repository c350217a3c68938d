"""`kumotwist policy-test DIR`: run the tests of a policy that its users wrote in Lua.

Public: `main`. Exit status 0 when all passed, 1 when one failed, 2 for a wrong
command line and when there is nothing to run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kumotwist.trial.policytest.running import PATTERNS, Outcome, Result, files_of, run


def main(arguments: Sequence[str]) -> int:
    """Run `arguments` and return the exit status."""
    parser = argparse.ArgumentParser(prog="kumotwist policy-test", description="Run the Lua tests of a policy.")
    parser.add_argument("place", type=Path, metavar="DIR", help=f"where {' and '.join(PATTERNS)} are, or one file")
    parser.add_argument("-k", dest="wanted", default="", metavar="TEXT", help="only cases with this in their names")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--fail-under", type=float, default=0.0, metavar="PERCENT", help="1 when fewer lines ran")
    parser.add_argument("--missing", action="store_true", help="name the lines that did not run")
    options = parser.parse_args(arguments)
    if not options.place.exists():
        return _nothing(f"there is no {options.place}")
    result = run(files_of(options.place), options.wanted, (lambda _: None) if options.json else _tell)
    if not result.outcomes:
        return _nothing(f"there is no test in {options.place}; they are in {' and '.join(PATTERNS)}")
    if options.json:
        sys.stdout.write(json.dumps(_for_programs(result), indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(_summary(result, options.missing)) + "\n")
    return 0 if result.has_passed and _share(result) >= options.fail_under else 1


def _nothing(why: str) -> int:
    sys.stderr.write(f"kumotwist policy-test: {why}\n")
    return 2


def _tell(outcome: Outcome) -> None:
    mark = "ok  " if outcome.has_passed else "FAIL"
    sys.stdout.write(f"{mark}  {outcome.file}: {outcome.name}\n")
    if not outcome.has_passed:
        sys.stdout.write(f"      {outcome.place}: {outcome.failure}\n")
        sys.stdout.writelines(f"      log: {line}\n" for text in outcome.log for line in text.splitlines())
    sys.stdout.flush()


def _summary(result: Result, shows_missing: bool) -> Iterator[str]:
    failed = sum(not one.has_passed for one in result.outcomes)
    seconds = sum(one.seconds for one in result.outcomes)
    yield ""
    yield f"{len(result.outcomes) - failed} passed, {failed} failed in {seconds:.1f} s"
    yield "lines that ran:"
    for file, lines in sorted(result.executable.items()):
        covered = result.covered[file]
        yield f"  {len(covered) / max(1, len(lines)):6.1%}  {len(covered):4} of {len(lines):4}  {file}"
        if shows_missing and len(covered) < len(lines):
            yield f"          not: {_ranges(sorted(lines - covered), lines)}"


def _ranges(missing: Iterable[int], executable: frozenset[int]) -> str:
    """Line numbers with neighbours drawn together; lines without code between them do not part them."""
    ranges: list[list[int]] = []
    for line in missing:
        if ranges and not any(between in executable for between in range(ranges[-1][1] + 1, line)):
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _share(result: Result) -> float:
    """Per cent of all lines that ran."""
    lines = sum(map(len, result.executable.values()))
    return 100.0 * sum(map(len, result.covered.values())) / lines if lines else 100.0


def _for_programs(result: Result) -> dict[str, Any]:
    tests = [
        {
            "file": one.file,
            "name": one.name,
            "passed": one.has_passed,
            "seconds": round(one.seconds, 4),
            **({} if one.has_passed else {"place": one.place, "failure": one.failure, "log": one.log}),
        }
        for one in result.outcomes
    ]
    coverage = {
        file: {
            "executable": len(lines),
            "covered": len(result.covered[file]),
            "missing": sorted(lines - result.covered[file]),
        }
        for file, lines in sorted(result.executable.items())
    }
    return {"passed": result.has_passed, "tests": tests, "coverage": coverage}

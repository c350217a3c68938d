"""How a run is told: to people on a terminal, to programs as JSON, to CI systems as JUnit XML and LCOV.

JUnit XML has no standard; this is the part that Jenkins, GitLab and GitHub's actions all read. LCOV is the tracefile
of geninfo(1): of each line, in how many cases it ran.

Public: `told`, `summary`, `as_object`, `as_junit`, `as_lcov`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final
from xml.etree import ElementTree

from kumotwist.trial.policytest.result import FileLines, Outcome, Result

#: What XML 1.0 s2.2 does not allow, which texts of tests may well have.
_NOT_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def told(outcome: Outcome) -> Iterator[str]:
    """The lines about one case."""
    yield f"{'ok  ' if outcome.has_passed else 'FAIL'}  {outcome.file}: {outcome.name}"
    if not outcome.has_passed:
        first, *more = outcome.failure.splitlines() or [""]
        yield f"      {outcome.place}: {first}"
        yield from (f"      {line}" for line in more)
        yield from (f"      log: {line}" for text in outcome.log for line in text.splitlines())


def summary(result: Result, shows_lines: bool) -> Iterator[str]:
    """How many passed and how much ran; with `shows_lines`, by file and with the lines that did not."""
    seconds = sum(one.seconds for one in result.outcomes)
    yield ""
    yield f"{len(result.outcomes) - result.failed} passed, {result.failed} failed in {seconds:.1f} s"
    if shows_lines:
        yield "lines that ran:"
        for file, lines in sorted(result.files.items()):
            yield f"  {len(lines.covered) / max(1, len(lines.executable)):6.1%}  {_counted(lines)}  {file}"
            if lines.missing:
                yield f"          not: {_ranges(lines.missing, lines.executable)}"
    of_all = sum(len(one.executable) for one in result.files.values())
    if of_all:
        yield f"{result.share:.1f} % of {of_all} lines of {len(result.files)} files ran"


def _counted(lines: FileLines) -> str:
    return f"{len(lines.covered):4} of {len(lines.executable):4}"


def _ranges(missing: Iterable[int], executable: frozenset[int]) -> str:
    """Line numbers with neighbours drawn together; lines without code between them do not part them."""
    ranges: list[list[int]] = []
    for line in missing:
        if ranges and not any(between in executable for between in range(ranges[-1][1] + 1, line)):
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def as_object(result: Result) -> Mapping[str, Any]:
    """For programs."""
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
        file: {"executable": len(one.executable), "covered": len(one.covered), "missing": one.missing}
        for file, one in sorted(result.files.items())
    }
    return {"passed": result.has_passed, "percent": round(result.share, 2), "tests": tests, "coverage": coverage}


def as_junit(result: Result) -> bytes:
    """A suite for each file, with what failed and what the policy logged."""
    root = ElementTree.Element("testsuites", _numbers(result.outcomes))
    for file, outcomes in groupby(result.outcomes, lambda one: one.file):
        cases = list(outcomes)
        suite = ElementTree.SubElement(root, "testsuite", {"name": _xml(file), **_numbers(cases)})
        for one in cases:
            facts = {"classname": _xml(file), "name": _xml(one.name), "file": _xml(file), "time": f"{one.seconds:.3f}"}
            case = ElementTree.SubElement(suite, "testcase", facts)
            if not one.has_passed:
                failure = ElementTree.SubElement(case, "failure", {"message": _xml(one.failure)})
                failure.text = _xml(f"{one.place}: {one.failure}")
                if one.log:
                    ElementTree.SubElement(case, "system-out").text = _xml("\n".join(one.log))
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return document + b"\n"


def _numbers(outcomes: list[Outcome]) -> dict[str, str]:
    return {
        "tests": str(len(outcomes)),
        "failures": str(sum(not one.has_passed for one in outcomes)),
        "time": f"{sum(one.seconds for one in outcomes):.3f}",
    }


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def as_lcov(result: Result) -> bytes:
    """A record for each file."""
    lines = ["TN:"]
    for file, one in sorted(result.files.items()):
        lines.append(f"SF:{file}")
        lines.extend(f"DA:{number},{one.hits[number]}" for number in sorted(one.executable))
        lines.extend((f"LF:{len(one.executable)}", f"LH:{len(one.covered)}", "end_of_record"))
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")

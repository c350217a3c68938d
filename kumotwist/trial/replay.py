"""`kumotwist replay`: a log of the past against a new policy, and what would go elsewhere.

Public: `question`, `replay`, `as_text`. Exit status 0 when every message that could be judged has a way, 1 when
the policy fails, for some messages at least, 2 for a wrong command line and a log in which nothing has ended.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from kumotwist.net.blocking import BlockingThreads
from kumotwist.trial.commandline import CommandLine
from kumotwist.trial.comparison import Comparison, Move, Noted, Report
from kumotwist.trial.judge import Judge
from kumotwist.trial.pastlog import ENDS, Ending, PastLog
from kumotwist.trial.plaintext import for_people

#: Records read at a time.
_BATCH: Final = 500
#: Messages that are known to have ended already: one with several recipients ends more than once. Ours: some minutes.
_REMEMBERED: Final = 100_000
#: Seconds between two lines of progress.
_PROGRESS: Final = 5.0
#: Segments that a note names.
_NAMED: Final = 3
#: Lines of each list that people read.
_SHOWN: Final = 20
#: Parts of messages that people are told as one: shares are of crowds.
_WHOLE: Final = 0.5


def question(arguments: Sequence[str], default_policy: str) -> argparse.Namespace:
    """The command line. Exits with 2 when it is wrong."""
    parser = CommandLine(
        prog="kumotwist replay", description="What of a log would go elsewhere under a policy; nothing is sent."
    )
    parser.add_argument("--policy", default=default_policy, help="the new policy")
    parser.add_argument(
        "--log", type=Path, action="append", required=True, metavar="DIR", help="local logs; may be repeated"
    )
    parser.add_argument("--limit", type=_count, metavar="N", help="read no more than N messages")
    parser.add_argument(
        "--handlers", action="store_true", help="run the handlers of reception, on the headers that the log kept"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    asked = parser.parse_args(arguments)
    try:
        asked.past = PastLog.of(*asked.log)
    except OSError as error:
        parser.error(f"--log {error.filename}: {error.strerror}")
    if not asked.past.segments:
        parser.error(f"--log: {' and '.join(map(str, asked.log))}: no segments of local logs there")
    return asked


async def replay(asked: argparse.Namespace, judge: Judge, threads: BlockingThreads) -> int:
    """Read, ask, compare and print; the exit status."""
    report = await compare(asked.past, judge, threads, asked.limit)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n" if asked.json else as_text(report))
    if not report.messages:
        sys.stderr.write("kumotwist replay: no message has ended in this log: there is nothing to compare\n")
        return 2
    return 1 if report.failed else 0


async def compare(past: PastLog, judge: Judge, threads: BlockingThreads, limit: int | None = None) -> Report:
    """The report on the messages of `past`, on the first `limit` of them if that is given."""
    comparison, tell_at = Comparison(), time.monotonic() + _PROGRESS
    ended: OrderedDict[str, None] = OrderedDict()
    endings = past.endings()
    while batch := await threads.run(_take, endings):
        for ending in batch:
            if comparison.messages == limit:
                break
            if ending.id not in ended:
                ended[ending.id] = None
                if len(ended) > _REMEMBERED:
                    ended.popitem(last=False)
                await _add(comparison, ending, judge)
        if comparison.messages == limit:
            break
        if time.monotonic() >= tell_at:
            tell_at = time.monotonic() + _PROGRESS
            _progress(comparison, past)
    return comparison.report(past.facts(), list(_notes(past, judge, is_cut=comparison.messages == limit)))


def as_text(report: Report) -> str:
    """For people."""
    return for_people(_lines(report))


async def _add(comparison: Comparison, ending: Ending, judge: Judge) -> None:
    comparison.messages += 1
    try:
        verdict = await judge.ask(ending)
    except ValueError as error:
        comparison.not_judged.add((f"the record makes no message: {error}",), ending.id)
    else:
        comparison.add(ending, verdict)


def _take(endings: Iterator[Ending]) -> list[Ending]:
    return list(islice(endings, _BATCH))


def _progress(comparison: Comparison, past: PastLog) -> None:
    read = f"{past.segments_read} of {len(past.segments)} segments"
    sys.stderr.write(f"replay: {comparison.messages:,} messages, {read}\n")


def _notes(past: PastLog, judge: Judge, *, is_cut: bool) -> Iterator[str]:
    """What the answer does not rest on."""
    if not past.has_meta:
        yield (
            "the log has no metadata: a route_table or route that a handler set is not known, tenant and campaign only "
            "by the queue's name; configure_local_logs { meta = { '*' } } keeps it"
        )
    if judge.handlers is None:
        yield "handlers of reception did not run: metadata is what they left behind at the time (--handlers runs them)"
    else:
        yield "handlers of reception ran on metadata as it was left behind at the time, without bodies"
        yield "what was rejected at the time is not looked at: a Rejection record has no message"
        if not past.has_headers:
            yield "the log has no headers; configure_local_logs { headers = { '*' } } keeps them"
    yield "tables are compared by the shares at which their routes rest, not by what was learned"
    if judge.has_passing_budgets:
        yield (
            "budgets are not replayed: what one sent to another route (next_route) is compared as if it had had room, "
            "and counts as elsewhere"
        )
    waiting = past.records["Reception"] - sum(past.records[kind] for kind in ENDS)
    if waiting > 0 and not is_cut:
        yield f"at least {waiting:,} messages that came in have no end in this log"
    if past.damaged_lines:
        yield f"{past.damaged_lines:,} lines are no records: cut, or written by a template"
    if past.damaged:
        shown = list(past.damaged.items())[:_NAMED]
        more = f" and {len(past.damaged) - _NAMED:,} more" if len(past.damaged) > _NAMED else ""
        yield f"could not be read to their end: {', '.join(f'{path} ({why})' for path, why in shown)}{more}"
    if is_cut:
        yield "not all of the log was read (--limit)"


def _lines(report: Report) -> Iterator[str]:
    part = f" ({report.elsewhere / report.judged:.1%})" if report.judged else ""
    yield f"messages     {report.messages:,} have ended in this log, {report.judged:,} could be judged"
    yield f"elsewhere    {report.elsewhere:,.0f}{part}"
    yield from _moves(report.moves)
    if report.alike:
        yield f"as before    {sum(move.messages for move in report.alike):,.0f} with another table, or without one"
        yield from _moves(report.alike)
    if report.queues:
        yield f"other queue  {sum(move.messages for move in report.queues):,.0f}"
        yield from _moves(report.queues)
    for title, noted in (("rejected", report.rejected), ("no way", report.failed), ("not judged", report.not_judged)):
        if noted:
            yield f"{title:12} {sum(one.messages for one in noted):,}"
            yield from _noted(noted)
    yield from (f"note         {note}" for note in report.notes)


def _moves(moves: Sequence[Move]) -> Iterator[str]:
    moves = [move for move in moves if move.messages >= _WHOLE]
    for move in moves[:_SHOWN]:
        yield f"{'':12} {move.messages:>9,.0f}  {move.from_} -> {move.to}; such as {', '.join(move.examples)}"
    yield from _more(moves)


def _noted(noted: Sequence[Noted]) -> Iterator[str]:
    for one in noted[:_SHOWN]:
        yield f"{'':12} {one.messages:>9,}  {one.what}; such as {', '.join(one.examples)}"
    yield from _more(noted)


def _more(lines: Sequence[object]) -> Iterator[str]:
    if len(lines) > _SHOWN:
        yield f"{'':24}and {len(lines) - _SHOWN:,} more lines (--json has all)"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)

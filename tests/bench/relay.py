"""Relay throughput beside Postfix and Haraka: `make bench`.

Each contender relays the same messages over 20 kept sessions from Postfix's
smtp-source to Postfix's smtp-sink, one contender after another, `--runs`
rounds; medians are printed. A ratio is the median of the rounds' own ratios,
since a machine with other work to do drifts from round to round. The clock
runs from the first offer to the arrival of the last message at the sink, so
what is accepted and not yet delivered does not count.

    python tests/bench/relay.py [--only postfix,haraka,1,2] [--runs 3]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import frozen
from contenders import Contender, Haraka, Kumotwist, Postfix, Unavailable, scratch
from measure import Sink, cpu_seconds, offer

SESSIONS = 20
KIB = 1024


@frozen
class Result:
    """One run."""

    rate: float
    cpu_us: float


def run_once(contender: Contender, directory: Path, count: int, size: int) -> Result:
    """Relay `count` messages of `size` octets; the contender is started and stopped for it."""
    directory.mkdir()
    with Sink() as sink:
        port = contender.start(directory, sink.port)
        try:
            warm_up = max(count // 20, SESSIONS)
            offer(port, warm_up, size, SESSIONS)
            sink.wait_for(warm_up)
            before, started = cpu_seconds(contender.roots()), time.monotonic()
            offer(port, count, size, SESSIONS)
            ended = sink.wait_for(warm_up + count)
            spent = cpu_seconds(contender.roots()) - before
        finally:
            contender.stop()
    shutil.rmtree(directory, ignore_errors=True)
    return Result(count / (ended - started), spent / count * 1e6)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--messages", type=int, default=10000, help="messages of 1 KiB a run")
    parser.add_argument("--large", type=int, default=2000, help="messages of 100 KiB a run")
    parser.add_argument("--only", default="postfix,haraka,1,2", help="contenders; numbers are kumotwist's workers")
    parser.add_argument("--directory", type=Path, help="where the queues live")
    options = parser.parse_args()
    base = scratch(options.directory)
    try:
        contenders = {name: _contender(name, base) for name in options.only.split(",")}
        for size, count in ((KIB, options.messages), (100 * KIB, options.large)):
            if count:
                results = _measure(contenders, base, count, size, options.runs)
                _report(results, count, size, options.runs)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return 0


def _contender(name: str, base: Path) -> Callable[[], Contender]:
    if name.isdecimal():
        return lambda: Kumotwist(int(name))
    return {"postfix": Postfix, "haraka": lambda: Haraka(base / "haraka-install")}[name]


def _measure(
    contenders: Mapping[str, Callable[[], Contender]], base: Path, count: int, size: int, runs: int
) -> dict[str, list[Result]]:
    results: dict[str, list[Result]] = {}
    for run in range(runs):
        for make in contenders.values():
            contender = make()
            try:
                result = run_once(contender, base / f"{contender.name}-{size}-{run}", count, size)
            except Unavailable as reason:
                if run == 0:
                    print(f"{contender.name}: left out: {reason}", flush=True)
                continue
            results.setdefault(contender.name, []).append(result)
            sys.stderr.write(f"  {contender.name} run {run + 1}: {result.rate:.0f}/s {result.cpu_us:.0f} us\n")
    return results


def _report(results: Mapping[str, list[Result]], count: int, size: int, runs: int) -> None:
    print(f"\n{count} messages of {size // KIB} KiB over {SESSIONS} sessions, median of {runs}:")
    medians = {
        name: Result(
            statistics.median(result.rate for result in each), statistics.median(result.cpu_us for result in each)
        )
        for name, each in results.items()
    }
    ours = results.get("kumotwist-1")
    print(f"{'':14}{'messages/s':>12}{'CPU us/message':>16}" + (f"{'kumotwist-1 is':>18}" if ours else ""))
    for name, median in medians.items():
        ratio = f"{_ratio(ours, results[name]):>16.2f} x" if ours else ""
        print(f"{name:14}{median.rate:>12.0f}{median.cpu_us:>16.0f}{ratio}", flush=True)
    if "kumotwist-2" in results and "postfix" in results:
        print(f"kumotwist-2 is {_ratio(results['kumotwist-2'], results['postfix']):.2f} x postfix")


def _ratio(these: Sequence[Result], those: Sequence[Result]) -> float:
    return statistics.median(one.rate / other.rate for one, other in zip(these, those, strict=True))


if __name__ == "__main__":
    sys.exit(main())

"""What the choice among routes costs a message: choosing, and telling what became of it.

python tests/bench/routes.py [--messages 200000] [--classes 100]
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

from kumotwist.config.routes import RouteEntry, RouteTableConfig
from kumotwist.core.outcome import Verdict
from kumotwist.queue.routes.signals import Signal
from kumotwist.queue.routes.table import RouteTable

RUNS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--classes", type=int, default=100)
    options = parser.parse_args()
    chance = random.Random(1)
    names = [f"domain{chance.randrange(options.classes)}.example" for _ in range(options.messages)]
    figures = [one_run(names) for _ in range(RUNS)]
    for what, each in zip(("choose", "report"), zip(*figures, strict=True), strict=True):
        print(f"{what:8}{statistics.median(each):8.2f} us a message, median of {RUNS}, {options.classes} classes")


def one_run(names: list[str]) -> tuple[float, float]:
    """Microseconds a message for choosing and for reporting, at a thousand messages a second."""
    weights = {"sendgrid": 20.0, "sparkpost": 10.0, "local": 70.0}
    routes = tuple(RouteEntry(name=name, weight=weight) for name, weight in weights.items())
    table = RouteTable(RouteTableConfig(name="bulk", routes=routes))
    choosing = reporting = 0.0
    for number, name in enumerate(names):
        now = 1_800_000_000.0 + number / 1000
        started = time.perf_counter()
        choice = table.choose(name, now)
        chosen = time.perf_counter()
        assert choice is not None
        table.tallies.outcome(name, choice.position, Verdict.DELIVERED, 0.2, now)
        table.report(name, choice.position, Signal.HANDED_OVER, now)
        reporting += time.perf_counter() - chosen
        choosing += chosen - started
    return choosing / len(names) * 1e6, reporting / len(names) * 1e6


if __name__ == "__main__":
    main()

"""The demonstration behind `make run`: the daemon, an outside world, and a view of what happens.

Starts the stand-ins (an SMTP sink, an HTTP service that answers as the
providers' and Google's APIs do, and an operator's SMSC, all failing a little), the daemon under
`policy/demo/init.lua`, and a bounded stream of messages; has one provider refuse everything for a while; shows where
messages go and how they end until Ctrl-C or `--duration`; then lets the queue drain, stops
everything and prints a summary. Everything is on loopback and in a temporary
directory, which is removed.

Exit status: 0 when the daemon stopped cleanly and the counts add up.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from kumotwist.demo.gauges import Gauges
from kumotwist.demo.outage import OUT, Cost, Outages
from kumotwist.demo.screen import Screen
from kumotwist.demo.stream import Stream
from kumotwist.demo.summary import sum_up
from kumotwist.demo.tally import Tally, spooled
from kumotwist.demo.world import World

#: Messages a second: lively to look at, nothing for any machine, and enough for four failures in a row within a second.
RATE: Final = 100.0
#: Seconds that the queue gets to drain at the end; the slowest retry is 8 s.
DRAIN: Final = 20.0
#: Seconds between two looks at how things stand.
_TICK: Final = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; the exit status."""
    options = _options(arguments)
    # A shell that starts it in the background has SIGINT ignored, and then nothing could end it but a kill.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    console = Console()
    directory = Path(tempfile.mkdtemp(prefix="kumotwist-demo-"))
    world = World(directory, options.workers, options.failing)
    try:
        return _run(world, options, console)
    except KeyboardInterrupt:
        console.print("Interrupted before there was anything to sum up.")
        return 1
    except RuntimeError as error:
        console.print(str(error), markup=False)
        return 1
    finally:
        world.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kumotwist.demo", description="A running demonstration.")
    parser.add_argument("--duration", type=float, help="stop sending after so many seconds; else at Ctrl-C")
    parser.add_argument("--rate", type=float, default=RATE, help="messages a second")
    parser.add_argument("--workers", type=int, help="worker processes of the daemon")
    parser.add_argument("--failing", type=float, default=0.02, help="part of requests that APIs fail all the while")
    parser.add_argument("--outage", type=float, default=6.0, help="seconds for which a provider fails; 0: it does not")
    parser.add_argument("--outage-after", type=float, default=3.0, help="when, in seconds from the start")
    parser.add_argument("--outage-every", type=float, default=30.0, help="seconds from one to the next")
    return parser.parse_args(arguments)


def _run(world: World, options: argparse.Namespace, console: Console) -> int:
    console.print("Starting the daemon and its outside world ...")
    world.start()
    plan = (options.outage_after, options.outage, options.outage_every, options.duration)
    outages = Outages(lambda seconds: world.refuse(OUT, seconds), *plan)
    tally = Tally(world.directory / "log", Cost(outages))
    gauges = Gauges(world.http_port)
    stream = Stream(world.smtp_port, world.http_port, options.rate)
    stream.start()
    with Screen(console, tally, gauges, stream) as screen:
        try:
            _send(options.duration, outages, gauges, tally, screen)
        except KeyboardInterrupt:
            pass
        # A second Ctrl-C must not cut the accounts short; the drain is bounded anyway.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stream.stop()
        outages.stop()
        _drain(tally, stream, screen)
    status = world.stop()
    tally.update()
    return sum_up(console, screen, status, spooled(world.directory / "spool" / "kumotwist"))


def _send(duration: float | None, outages: Outages, gauges: Gauges, tally: Tally, screen: Screen) -> None:
    """Watch for `duration` seconds, or until Ctrl-C."""
    state = "sending, Ctrl-C ends it" if duration is None else f"sending for {duration:g} s"
    started = time.monotonic()
    while duration is None or time.monotonic() - started < duration:
        time.sleep(_TICK)
        elapsed = time.monotonic() - started
        outages.tick(elapsed)
        gauges.update(elapsed)
        tally.update()
        screen.show(state, outages.told(elapsed, gauges.is_open(OUT)))


def _drain(tally: Tally, stream: Stream, screen: Screen) -> None:
    ended = time.monotonic()
    while time.monotonic() - ended < DRAIN and not _is_drained(tally, stream):
        time.sleep(_TICK)
        tally.update()
        screen.show("draining the queue", "nothing is sent any more; what failed for the moment is tried again")


def _is_drained(tally: Tally, stream: Stream) -> bool:
    """Whether everything has come to its end, receipts included."""
    total = tally.total
    return stream.accepted <= total.accepted and not total.waiting and not tally.receipts_missing


if __name__ == "__main__":
    sys.exit(main())

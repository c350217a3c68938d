"""The end of the demonstration: accounts that add up, and what the outage did.

Public: `sum_up`.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from kumotwist.demo.gauges import ROUTES, Gauges
from kumotwist.demo.outage import NAME, OUT
from kumotwist.demo.screen import Screen
from kumotwist.demo.stream import Stream
from kumotwist.demo.tally import Tally


def sum_up(console: Console, screen: Screen, status: int, queued: int) -> int:
    """Print everything; the exit status. `status` is the daemon's, `queued` what is left in its spool."""
    tally, stream = screen.tally, screen.stream
    console.print("What became of the messages, by the daemon's log records:", style="italic")
    console.print(screen.at_the_end())
    adds_up = stream.accepted == tally.total.accepted == tally.total.delivered + tally.total.bounced + queued
    is_told = not tally.receipts_missing
    lines = [*_outage(tally, screen.gauges), _accounts(tally, stream, adds_up, queued, status), _texts(tally, stream)]
    for line in lines:
        console.print(f"- {line}.", soft_wrap=not console.is_terminal, highlight=False)
    return 0 if adds_up and is_told and status == 0 else 1


def _accounts(tally: Tally, stream: Stream, adds_up: bool, queued: int, status: int) -> str:
    parts = f"SMTP {stream.accepted_smtp}, HTTP {stream.accepted_http}, send API {stream.accepted_send}"
    return (
        f"accepted {stream.accepted} ({parts}) "
        f"{'=' if adds_up else '!='} delivered {tally.total.delivered} + bounced {tally.total.bounced} "
        f"+ still queued {queued}; refused for the moment {stream.refused}; daemon's exit status {status}"
    )


def _texts(tally: Tally, stream: Stream) -> str:
    texts = tally.kinds["sms"]
    return (
        f"texts handed over {texts.delivered} {'!=' if tally.receipts_missing else '='} receipts {texts.receipts}: "
        f"arrived {texts.receipts - texts.receipts_bad}, did not {texts.receipts_bad}; "
        f"device tokens reported gone {tally.total.dead}; "
        f"requests sent twice under one key and counted once {stream.repeated}"
    )


def _outage(tally: Tally, gauges: Gauges) -> list[str]:
    """What it cost, and why shares are not what they are at rest."""
    if not tally.cost.outages.seconds or OUT not in gauges.routes:
        return []
    rest = {route: one.rest for route, one in gauges.routes.items()}
    lines = [tally.cost.told(rest[OUT])]
    if any(count.delivered for count in tally.routes.values()):
        went = _percent({route: count.delivered for route, count in tally.routes.items()})
        before = f"; before that it was {_percent(tally.cost.went)}" if tally.cost.went else ""
        lines.append(
            f"mail went {went} % by {', '.join(ROUTES.values())}, not {_percent(rest)}, since the others had "
            f"{NAME}'s share while its breaker was open, and nobody makes up for it afterwards{before}"
        )
    return lines


def _percent(parts: Mapping[str, float]) -> str:
    whole = sum(parts.values())
    return " / ".join(f"{100 * parts.get(route, 0) / whole:.3g}" for route in ROUTES)

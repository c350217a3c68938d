"""`kumotwist simulate`: outages against the real selection code, and against what else could have chosen.

Public: `main`, `table`. Exit status 2 for a wrong command line or scenario.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from kumotwist.core.errors import ConfigError
from kumotwist.core.units import format_duration
from kumotwist.trial.choosers import Fixed, Learned, Stepwise
from kumotwist.trial.plot import picture
from kumotwist.trial.scenario import SCENARIOS, Scenario, read
from kumotwist.trial.simulation import Run, simulate

#: Who chooses, by the name in the table; the first is ours.
CHOOSERS: Final[Mapping[str, Any]] = {"learned": Learned, "GOV.UK's rule": Stepwise, "fixed weights": Fixed}


@frozen
class Result:
    """One scenario under every chooser."""

    name: str
    scenario: Scenario
    runs: Mapping[str, Run]


def main(arguments: Sequence[str]) -> int:
    """Run `arguments` and return the exit status."""
    parser = argparse.ArgumentParser(prog="kumotwist simulate", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--scenario", action="append", required=True, help=f"a TOML file, 'all', {', '.join(SCENARIOS)}"
    )
    parser.add_argument("--seed", type=int, default=1, help="of what is left to chance")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="write a picture of the shares for each scenario")
    parser.add_argument("--json", action="store_true", help="results for programs")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="put the table into the page's simulation block")
    options = parser.parse_args(arguments)
    names = [one for name in options.scenario for one in (SCENARIOS if name == "all" else (name,))]
    try:
        results = [_result(name, read(name), options.seed) for name in names]
    except ConfigError as error:
        sys.stderr.write(f"kumotwist simulate: {error}\n")
        return 2
    if options.plot is not None:
        options.plot.mkdir(parents=True, exist_ok=True)
        for result in results:
            name = Path(result.name).stem
            (options.plot / f"{name}.svg").write_text(picture(result.scenario, result.runs["learned"]))
    if options.into is not None:
        _put_into(options.into, table(results))
    sys.stdout.write(
        json.dumps([_plain(result) for result in results], indent=1) + "\n" if options.json else table(results)
    )
    return 0


def table(results: Iterable[Result]) -> str:
    """The results as a Markdown table."""
    rows = [
        "| scenario | who chooses | messages that trouble cost | 90 % had left after | 90 % were back after |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        for who, run in result.runs.items():
            title = result.scenario.title if who == "learned" else ""
            rows.append(f"| {title} | {who} | {run.lost:,} | {_span(run.left_after)} | {_span(run.back_after)} |")
    return "\n".join((*rows, ""))


def _result(name: str, scenario: Scenario, seed: int) -> Result:
    return Result(
        name, scenario, {who: simulate(scenario, make(scenario.table), seed) for who, make in CHOOSERS.items()}
    )


def _span(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)


def _plain(result: Result) -> dict[str, Any]:
    return {
        "scenario": result.name,
        "title": result.scenario.title,
        "runs": {
            who: {"lost": run.lost, "sent": run.sent, "left_after": run.left_after, "back_after": run.back_after}
            for who, run in result.runs.items()
        },
    }


def _put_into(page: Path, text: str) -> None:
    pattern = r"(<!-- simulation -->\n).*?(<!-- /simulation -->)"
    page.write_text(re.sub(pattern, lambda match: f"{match[1]}{text}{match[2]}", page.read_text(), flags=re.DOTALL))

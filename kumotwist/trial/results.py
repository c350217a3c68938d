"""What simulations came to: every chooser under the same scenario, once or for several seeds, as a table.

Public: `Result`, `play`, `not_played`, `as_table`, `as_json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median_low
from typing import Any, Final

from attrs import frozen

from kumotwist.config.routes import RouteTableConfig
from kumotwist.core.units import format_duration
from kumotwist.trial.choosers import Chooser, Fixed, Learned, Stepwise
from kumotwist.trial.scenario import Scenario
from kumotwist.trial.simulation import Run, simulate

#: Who chooses, by the name in the table; the first is ours.
CHOOSERS: Final[Mapping[str, Callable[[RouteTableConfig], Chooser]]] = {
    "learned": Learned,
    "GOV.UK's rule": Stepwise,
    "fixed weights": Fixed,
}
_NEVER: Final = float("inf")


@frozen
class Summary:
    """Medians over the seeds; None for what did not happen in half of them."""

    lost: int
    saved: int
    left_after: tuple[float | None, ...]
    back_after: tuple[float | None, ...]


@frozen
class Result:
    """One scenario under every chooser; each has a run for each seed."""

    name: str
    scenario: Scenario
    runs: Mapping[str, Sequence[Run]]

    def summary(self, who: str) -> Summary:
        """What came of it under one chooser."""
        runs = self.runs[who]
        troubles = range(len(self.scenario.trouble))
        return Summary(
            median_low(run.lost for run in runs),
            median_low(run.saved for run in runs),
            tuple(_median(run.spans[one].left_after for run in runs) for one in troubles),
            tuple(_median(run.spans[one].back_after for run in runs) for one in troubles),
        )


def play(name: str, scenario: Scenario, seeds: Iterable[int]) -> Result:
    """The scenario under every chooser, for each of the seeds."""
    each = list(seeds)
    runs = {who: [simulate(scenario, make(scenario.table), seed) for seed in each] for who, make in CHOOSERS.items()}
    return Result(name, scenario, runs)


def not_played(table: RouteTableConfig) -> str:
    """What of a table a simulation leaves out, in a sentence."""
    left_out = ["retries"]
    capped = [route.name for route in table.routes if route.budgets]
    if capped:
        left_out.append(f"the budgets of {', '.join(capped)}")
    if table.fallback:
        left_out.append(f"the fallback to {', '.join(stage.route_table for stage in table.fallback)}")
    *most, last = left_out
    words = f"{', '.join(most)} and {last}" if most else last
    return f"Not played, of table '{table.name}': {words}. The figures are those of first attempts by this table alone."


def as_table(results: Sequence[Result], remark: str = "") -> str:
    """The results as a Markdown table, with a remark below.

    When a table has `on_failure = 'next_route'` there is a column of what the next route took.
    """
    has_next = any(result.scenario.table.on_failure == "next_route" for result in results)
    heads = ["scenario", "who chooses", "messages that trouble cost", "90 % had left after", "90 % were back after"]
    if has_next:
        heads.insert(3, "the next route took")
    rows = [_row(heads), "|---" * len(heads) + "|"]
    for result in results:
        for number, who in enumerate(result.runs):
            found = result.summary(who)
            cells = ["" if number else _cell(result.scenario.title), who, f"{found.lost:,}"]
            rows.append(
                _row(
                    [
                        *cells,
                        *([f"{found.saved:,}"] if has_next else []),
                        *map(_spans, (found.left_after, found.back_after)),
                    ]
                )
            )
    return "\n".join((*rows, *(("", remark) if remark else ()), ""))


def as_json(results: Iterable[Result]) -> list[dict[str, Any]]:
    """For programs: medians, and each run."""
    return [
        {
            "scenario": result.name,
            "title": result.scenario.title,
            "table": result.scenario.table.name,
            "routes": [route.name for route in result.scenario.table.routes],
            "not_played": not_played(result.scenario.table),
            "runs": {who: _plain(result, who) for who in result.runs},
        }
        for result in results
    ]


def _plain(result: Result, who: str) -> dict[str, Any]:
    found = result.summary(who)
    return {
        "lost": found.lost,
        "saved": found.saved,
        "left_after": found.left_after,
        "back_after": found.back_after,
        "each": [{"lost": run.lost, "saved": run.saved, "sent": run.sent} for run in result.runs[who]],
    }


def _median(values: Iterable[float | None]) -> float | None:
    found = median_low(_NEVER if value is None else value for value in values)
    return None if found == _NEVER else found


def _spans(values: Sequence[float | None]) -> str:
    """One after the other for several troubles."""
    if all(value is None for value in values):
        return ""
    return ", ".join("-" if value is None else format_duration(value) for value in values)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

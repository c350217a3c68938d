"""Shares over time as an SVG picture: one line for each route, trouble shaded.

A picture of three lines needs no plotting library: it is text.

Public: `picture`.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from kumotwist.trial.scenario import Scenario
from kumotwist.trial.simulation import Run

_WIDTH: Final = 720
_HEIGHT: Final = 300
_LEFT: Final = 48
_TOP: Final = 34
_RIGHT: Final = 130
_BOTTOM: Final = 36
#: Colours that the colour-blind can tell apart (Okabe and Ito 2008).
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def picture(scenario: Scenario, run: Run) -> str:
    """The whole SVG document."""
    return "\n".join(("".join(_head(scenario)), *_axes(scenario), *_lines(scenario, run), "</svg>", ""))


def _head(scenario: Scenario) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
    yield f'font-size="12"><rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
    yield f'<text x="{_LEFT}" y="20" font-size="14">{escape(scenario.title)}</text>'
    for one in scenario.trouble:
        left, right = _x(scenario, one.start), _x(scenario, min(one.until, scenario.duration))
        yield f'<rect x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" height="{_y(0.0) - _TOP:.1f}" fill="#eee"/>'


def _axes(scenario: Scenario) -> Iterator[str]:
    for percent in range(0, 101, 25):
        y = _y(percent / 100)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ccc"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>'
    for part in range(5):
        seconds = scenario.duration * part / 4
        x = _x(scenario, seconds)
        yield f'<text x="{x:.1f}" y="{_HEIGHT - 14}" text-anchor="middle">{seconds / 60:g} min</text>'


def _lines(scenario: Scenario, run: Run) -> Iterator[str]:
    for number, route in enumerate(scenario.table.routes):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(f"{_x(scenario, at):.1f},{_y(shares[number]):.1f}" for at, shares in run.history)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
        y = _TOP + 12 + 18 * number
        yield f'<text x="{_WIDTH - _RIGHT + 14}" y="{y}" fill="{colour}">{escape(route.name)}</text>'


def _x(scenario: Scenario, seconds: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * seconds / scenario.duration


def _y(share: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1.0 - share)

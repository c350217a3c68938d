"""Shares over time as a picture: a panel for each chooser, a line for each route, trouble shaded.

Public: `as_svg`, `as_png`. When a trouble concerns one class of messages, that
class and the others have panels of their own, side by side. SVG is text, and
needs no library; PNG is what resvg makes of it, with the fonts of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import floor, log10
from typing import Final

import resvg_py
from attrs import frozen

from kumotwist.trial.results import Result
from kumotwist.trial.scenario import Scenario
from kumotwist.trial.simulation import Run

#: Sizes in pixels: a panel, and what stands about it.
_WIDTH: Final = 620
_HEIGHT: Final = 150
_LEFT: Final = 64
_TOP: Final = 62
_GAP: Final = 46
_LEGEND: Final = 150
_BOTTOM: Final = 44
_LINE: Final = 18
#: Points of a line. Ours: more than pixels are not seen.
_POINTS: Final = 600
#: Pixels of the PNG for one of the SVG.
_ZOOM: Final = 2.0
#: Colours that the colour-blind can tell apart (Okabe and Ito 2008), and dashes: lines may lie on each other.
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES: Final = ("none", "7 3", "2 3", "9 3 2 3", "4 4")
_SHADE: Final = "#f6dede"
#: Typefaces that machines have, one or another of them; resvg knows no "any".
_FONTS: Final = "DejaVu Sans, Liberation Sans, Noto Sans, Open Sans, Ubuntu, Cantarell, Arial, Helvetica, sans-serif"
#: Units of the time axis, the largest that fits first.
_UNITS: Final = ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


@frozen
class _Panel:
    """One chooser and some classes, with its corner."""

    result: Result
    who: str
    classes: Sequence[str]
    title: str
    left: float
    top: float

    @property
    def scenario(self) -> Scenario:
        return self.result.scenario

    @property
    def run(self) -> Run:
        return self.result.runs[self.who][0]

    def x(self, seconds: float) -> float:
        return self.left + _WIDTH * min(seconds / self.scenario.duration, 1.0)

    def y(self, share: float) -> float:
        return self.top + _HEIGHT * (1.0 - share)


def as_svg(result: Result) -> str:
    """The whole document, of the first seed."""
    scenario, groups = result.scenario, list(_groups(result.scenario))
    width = _LEFT + len(groups) * (_WIDTH + _LEFT) + _LEGEND - _LEFT
    legend = _LINE * (len(scenario.table.routes) + 2)
    height = _TOP + max(len(result.runs) * (_HEIGHT + _GAP), legend) + _BOTTOM - _GAP + 20
    panels = [
        _Panel(result, who, classes, title, _LEFT + column * (_WIDTH + _LEFT), _TOP + row * (_HEIGHT + _GAP))
        for row, who in enumerate(result.runs)
        for column, (title, classes) in enumerate(groups)
    ]
    size = min(16.0, (width - _LEFT) / (0.7 * max(len(scenario.title), 1)))  # a wide letter is 0.7 of its height
    lines = [*_head(width, height), _text(_LEFT, 22, scenario.title, f'font-size="{size:.1f}" font-weight="bold"')]
    for panel in panels:
        lines += _panel(panel, is_last=panel.who == panels[-1].who)
    return "\n".join((*lines, *_legend(scenario, width - _LEGEND + 16), "</svg>", ""))


def as_png(svg: str) -> bytes:
    """The same as pixels."""
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=_ZOOM))


def has_font() -> bool:
    """Whether this machine has one of our typefaces, without which a PNG has no words."""
    bare = "\n".join((*_head(20, 20), "</svg>"))
    return as_png(bare) != as_png(bare.replace("</svg>", f"{_text(0, 16, 'W')}</svg>"))


def _head(width: float, height: float) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    yield f' font-family="{_FONTS}" font-size="12"><rect width="{width}" height="{height}" fill="white"/>'


def _groups(scenario: Scenario) -> Iterator[tuple[str, Sequence[str]]]:
    """Classes that are drawn together, with what they are called."""
    troubled = {one.class_ for one in scenario.trouble if one.class_ is not None}
    everybody = list(scenario.classes)
    if not troubled or len(everybody) == 1:
        yield "", everybody
        return
    yield ", ".join(troubled), [one for one in everybody if one in troubled]
    rest = [one for one in everybody if one not in troubled]
    if rest:
        yield "all other messages", rest


def _panel(panel: _Panel, *, is_last: bool) -> Iterator[str]:
    for one in panel.scenario.trouble:
        if one.class_ is None or one.class_ in panel.classes:
            left, right = panel.x(one.from_), panel.x(one.until)
            size = f'width="{right - left:.1f}" height="{_HEIGHT}"'
            yield f'<rect x="{left:.1f}" y="{panel.top}" {size} fill="{_SHADE}"/>'
    lost = panel.result.summary(panel.who).lost
    title = f"{panel.who}{f', {panel.title}' if panel.title else ''}"
    yield _text(panel.left, panel.top - 8, title, 'font-weight="bold"')
    if panel.left == _LEFT:
        yield _text(panel.left + _WIDTH, panel.top - 8, f"trouble cost {lost:,} messages", 'text-anchor="end"')
    yield from _axes(panel, is_last=is_last)
    yield from _lines(panel)


def _axes(panel: _Panel, *, is_last: bool) -> Iterator[str]:
    for percent in range(0, 101, 25):
        y = panel.y(percent / 100)
        yield f'<line x1="{panel.left}" x2="{panel.left + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ccc"/>'
        yield _text(panel.left - 6, y + 4, f"{percent} %", 'text-anchor="end"')
    middle = panel.y(0.5)
    x = panel.left - 48
    yield _text(x, middle, "share of messages", f'text-anchor="middle" transform="rotate(-90 {x} {middle:.1f})"')
    size, unit = next((one for one in _UNITS if panel.scenario.duration >= 3 * one[0]), _UNITS[-1])
    step = _step(panel.scenario.duration / size)
    for number in range(int(panel.scenario.duration / size / step + 1e-9) + 1):
        x, bottom = panel.x(number * step * size), panel.y(0.0)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{bottom + 4:.1f}" stroke="#666"/>'
        yield _text(x, bottom + 17, f"{number * step:g}", 'text-anchor="middle"')
    if is_last:
        yield _text(panel.left + _WIDTH / 2, panel.y(0.0) + 36, f"time in {unit}", 'text-anchor="middle"')


def _step(length: float) -> float:
    """A round step that makes four to ten parts."""
    size = 10.0 ** floor(log10(length / 4))
    return max(part * size for part in (1.0, 2.0, 2.5, 5.0) if part * size <= length / 4)


def _lines(panel: _Panel) -> Iterator[str]:
    parts = [panel.scenario.classes[name] for name in panel.classes]
    looks = list(zip(*(panel.run.history[name] for name in panel.classes), strict=True))
    looks = looks[:: max(1, len(looks) // _POINTS)]
    for number in range(len(panel.scenario.table.routes)):
        points = []
        for look in looks:
            share = sum(part * shares[number] for part, (_, shares) in zip(parts, look, strict=True)) / sum(parts)
            points.append(f"{panel.x(look[0][0]):.1f},{panel.y(share):.1f}")
        yield f'<polyline points="{" ".join(points)}" fill="none" stroke-width="1.8" {_stroke(number)}/>'


def _legend(scenario: Scenario, x: float) -> Iterator[str]:
    for number, route in enumerate(scenario.table.routes):
        y = _TOP + 10 + _LINE * number
        yield f'<line x1="{x}" x2="{x + 22}" y1="{y - 4}" y2="{y - 4}" stroke-width="2.2" {_stroke(number)}/>'
        yield _text(x + 28, y, route.name if len(route.name) <= 16 else f"{route.name[:15]}…")
    if scenario.trouble:
        y = _TOP + 10 + _LINE * len(scenario.table.routes)
        yield f'<rect x="{x}" y="{y - 10}" width="22" height="12" fill="{_SHADE}"/>'
        yield _text(x + 28, y, "trouble")


def _stroke(number: int) -> str:
    colour, dash = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
    return f'stroke="{colour}" stroke-dasharray="{dash}"'


def _text(x: float, y: float, text: str, how: str = "") -> str:
    shown = escape("".join(one if one.isprintable() else "?" for one in text))
    return f'<text x="{x:.1f}" y="{y:.1f}" {how}>{shown}</text>'

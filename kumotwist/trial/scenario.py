"""Scenarios: how routes behave over time, and which table chooses among them.

A scenario is a TOML file, or one of those in `SCENARIOS` by name:

    duration = "1 hour"
    rate = 25                    # messages a second
    [[routes]]
    name = "local"
    weight = 70
    [[trouble]]                  # any number; what is not said stays as it is
    route = "local"              # none: all routes
    from = "10 minutes"
    until = "30 minutes"
    success = 0.0                # part that is handed over
    arrival = 0.6                # part of these for which a good receipt comes
    receipts = 0.0               # part of these for which any receipt comes
    delay = "4 minutes"          # mean time to a receipt

Public: `Scenario`, `Trouble`, `SCENARIOS`, `read`. What can go wrong: ConfigError that names the option.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kumotwist.config.option import Duration, option, options
from kumotwist.config.routes import LearnConfig, RouteEntry, RouteTableConfig
from kumotwist.config.structure import hint, structure
from kumotwist.core.errors import ConfigError


@options
class Trouble:
    """A stretch of time in which a route behaves otherwise."""

    start: Duration = option("When it begins.")
    until: Duration = option("When it is over.")
    route: str | None = option("The route; none: all of them.", default=None)
    success: float = option("Part of the messages that are handed over.", default=0.98)
    arrival: float = option("Part of the receipts that are good.", default=0.97)
    receipts: float = option("Part of the hand-overs for which a receipt comes.", default=1.0)
    delay: Duration = option("Mean time to a receipt.", default=Duration(5.0))


@options
class Scenario:
    """Everything that a simulation needs."""

    title: str = option("What happens, in a few words.")
    table: RouteTableConfig = option("The table that chooses.")
    trouble: tuple[Trouble, ...] = option("What goes wrong.", default=())
    duration: Duration = option("How long it lasts.", default=Duration(3600.0))
    rate: float = option("Messages a second.", default=25.0)


_TABLE: Final = RouteTableConfig(
    name="bulk",
    routes=(
        RouteEntry(name="sendgrid", weight=20.0),
        RouteEntry(name="sparkpost", weight=10.0),
        RouteEntry(name="local", weight=70.0),
    ),
    learn=LearnConfig(receipt_within=Duration(120.0)),
)


def _scenario(title: str, **trouble: Any) -> Scenario:
    found = Trouble(**{"start": Duration(600.0), "until": Duration(1800.0), **trouble})
    return Scenario(title=title, table=_TABLE, trouble=(found,))


#: What the documentation's table is made of.
SCENARIOS: Final[Mapping[str, Scenario]] = {
    "dies": _scenario("the largest route dies", route="local", success=0.0),
    "dies-small": _scenario("the smallest route dies", route="sparkpost", success=0.0),
    "tempfails": _scenario("the largest route defers 30 %", route="local", success=0.68),
    "bounces": _scenario("the largest route takes all and bounces 30 % later", route="local", arrival=0.67),
    "slows": _scenario("the largest route delivers after ten minutes", route="local", delay=Duration(600.0)),
    "loses-receipts": _scenario("the largest route sends no receipts", route="local", receipts=0.0),
    "all-good": Scenario(title="all routes are equally good", table=_TABLE),
    "all-bad": _scenario("all routes are equally bad", success=0.5),
}


def read(name: str) -> Scenario:
    """The scenario of that name, or in the TOML file of that name. Raises ConfigError."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    path = Path(name)
    try:
        found = tomllib.loads(path.read_text())
    except FileNotFoundError:
        known = ", ".join(SCENARIOS)
        raise ConfigError(f"no scenario '{name}'{hint(name, SCENARIOS)}; there are {known}, or name a file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{name}: {error}") from None
    routes, learn = found.pop("routes", []), found.pop("learn", {})
    table = {"name": path.stem, "routes": routes, "learn": learn}
    given = {
        "title": path.stem,
        **found,
        "table": table,
        "trouble": [_renamed(one) for one in found.get("trouble", [])],
    }
    scenario = structure(Scenario, given, name)
    names = [route.name for route in scenario.table.routes]
    for one in scenario.trouble:
        if one.route is not None and one.route not in names:
            raise ConfigError(f"{name}: option 'trouble.route' names no route '{one.route}'{hint(one.route, names)}")
    return scenario


def _renamed(trouble: object) -> object:
    """`from` is a word of Python's."""
    if isinstance(trouble, Mapping):
        return {("start" if name == "from" else name): value for name, value in trouble.items()}
    return trouble

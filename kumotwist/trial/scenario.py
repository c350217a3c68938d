"""Scenarios: what goes wrong when, and the messages that meet it.

Public: `Scenario`, `Trouble`. A scenario is made by `trial.scenariofile` from a
TOML file or by `trial.shipped`; `Scenario.on` plays it on another table. What
can go wrong: ConfigError that names the option.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Final

from attrs import evolve, frozen

from kumotwist.config.option import Duration, WrongOption, option, options
from kumotwist.config.routes import RouteTableConfig
from kumotwist.config.structure import hint
from kumotwist.core.errors import ConfigError

#: Messages of one run. Ours: half a minute of one core for each chooser.
MAX_MESSAGES: Final = 2_000_000
#: Classes, and stretches of trouble. Ours: more cannot be told apart in a picture.
MAX_PARTS: Final = 100
#: Characters of a title. Ours: one line of a picture.
_MAX_TITLE: Final = 100
#: Seconds after which a message is late where the table does not say (as GOV.UK Notify counts).
LATE: Final = 240.0
#: Routes that a trouble may name on any table.
ROLES: Final = ("largest", "smallest", "first")


@options
class Trouble:
    """A stretch of time in which a route behaves otherwise. What is not said stays as it is."""

    from_: Duration = option("When it begins.")
    until: Duration = option("When it is over.")
    route: str | None = option("The route: a name, `largest`, `smallest` or `first`; none: all of them.", default=None)
    class_: str | None = option("Only messages of this class; none: of all.", default=None)
    success: float | None = option("Part of the messages that are handed over.", default=None)
    arrival: float | None = option("Part of the receipts that are good.", default=None)
    receipts: float | None = option("Part of the hand-overs for which a receipt comes.", default=None)
    delay: Duration | None = option("Mean time to a receipt.", default=None)

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for what is no trouble."""
        if not self.until > self.from_:
            raise WrongOption("until", "must be later than 'from'")
        for name in ("success", "arrival", "receipts"):
            part = getattr(self, name)
            if part is not None and not 0.0 <= part <= 1.0:
                raise WrongOption(name, f"is a part, between 0 and 1, got {part:g}")
        if self.delay is not None and self.delay <= 0.0:
            raise WrongOption("delay", "must be more than 0")


@frozen(kw_only=True)
class Scenario:
    """Everything that a simulation needs.

    `classes` are what the table's `class` would tell apart, with their parts of all messages; "" stands for all.
    Raises ValueError for what cannot be played.
    """

    title: str
    table: RouteTableConfig
    trouble: tuple[Trouble, ...] = ()
    classes: Mapping[str, float] = {"": 1.0}
    duration: float = 3600.0
    rate: float = 25.0

    def __attrs_post_init__(self) -> None:
        """See above."""
        if len(self.title) > _MAX_TITLE or not self.title.isprintable():
            raise WrongOption("title", f"must be one line of at most {_MAX_TITLE} characters")
        if not self.duration > 0.0:
            raise WrongOption("duration", "must be more than 0")
        if not (isfinite(self.rate) and self.rate > 0.0):
            raise WrongOption("rate", f"must be more than 0 messages a second, got {self.rate:g}")
        count = self.duration * self.rate
        if count > MAX_MESSAGES:
            raise ValueError(
                f"'duration' and 'rate' make {count:,.0f} messages, more than {MAX_MESSAGES:,}; lower one of them"
            )
        if count < 1.0:
            raise ValueError("'duration' and 'rate' make no message at all")
        self._check_parts()

    def _check_parts(self) -> None:
        if len(self.trouble) > MAX_PARTS or len(self.classes) > MAX_PARTS:
            raise ValueError(f"options 'trouble' and 'classes' take no more than {MAX_PARTS} each")
        bad = next((name for name, part in self.classes.items() if not (isfinite(part) and part > 0.0)), None)
        if bad is not None:
            raise WrongOption("classes", f"needs a part above 0 for each, got {self.classes[bad]:g} for '{bad}'")
        if not self.classes:
            raise WrongOption("classes", "is empty; leave it out for messages of one kind")

    @property
    def patience(self) -> float:
        """Seconds after which a message without a receipt counts as late."""
        return self.table.learn.receipt_within or LATE

    def on(self, table: RouteTableConfig, name: str = "") -> Scenario:
        """The same on `table`, with its names for the routes in trouble. Raises ConfigError, with `name` in front."""
        prefix = f"{name}: " if name else ""
        names = [route.name for route in table.routes]
        trouble = []
        for number, one in enumerate(self.trouble, 1):
            where = f"{prefix}option 'trouble.{number}."
            if one.class_ is not None and one.class_ not in self.classes:
                known = hint(one.class_, self.classes)
                raise ConfigError(f"{where}class' names no class '{one.class_}' of 'classes'{known}")
            route = _route(table, one.route)
            if route is not None and route not in names:
                there = f"; table '{table.name}' has {', '.join(names)}"
                close = hint(route, (*names, *ROLES))
                raise ConfigError(f"{where}route' names no route '{route}'{close}{there}")
            trouble.append(evolve(one, route=route))  # type: ignore[misc]  # mypy does not see attrs behind `options`
        return evolve(self, table=table, trouble=tuple(trouble))


def _route(table: RouteTableConfig, named: str | None) -> str | None:
    """The name of the route that a trouble names; a route's own name comes before a role."""
    if named is None or named not in ROLES or any(route.name == named for route in table.routes):
        return named
    if named == "first":
        return table.routes[0].name
    weighted = [route for route in table.routes if route.weight > 0.0]
    choose = max if named == "largest" else min
    return choose(weighted, key=lambda route: route.weight).name

"""The scenarios that come with us, and the table that they are played on when no other is given.

Public: `SCENARIOS`, `EXAMPLE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kumotwist.config.option import Duration
from kumotwist.config.routes import LearnConfig, RouteEntry, RouteTableConfig
from kumotwist.trial.scenario import Scenario, Trouble

EXAMPLE: Final = RouteTableConfig(
    name="bulk",
    routes=(
        RouteEntry(name="sendgrid", weight=20.0),
        RouteEntry(name="sparkpost", weight=10.0),
        RouteEntry(name="local", weight=70.0),
    ),
    learn=LearnConfig(receipt_within=Duration(120.0)),
)
_CLASSES: Final = {"gmail.com": 50.0, "outlook.com": 30.0, "example.org": 20.0}


def _trouble(start: float = 600.0, until: float = 1800.0, **what: Any) -> Trouble:
    return Trouble(from_=Duration(start), until=Duration(until), **what)


def _scenario(title: str, *trouble: Trouble, **what: Any) -> Scenario:
    """Troubles keep the names of roles until the scenario is put on a table."""
    return Scenario(title=title, table=EXAMPLE, trouble=trouble, **what)


#: What the documentation's table is made of; `Scenario.on` a table first.
SCENARIOS: Final[Mapping[str, Scenario]] = {
    "dies": _scenario("the largest route dies", _trouble(route="largest", success=0.0)),
    "dies-small": _scenario("the smallest route dies", _trouble(route="smallest", success=0.0)),
    "tempfails": _scenario("the largest route defers 30 %", _trouble(route="largest", success=0.68)),
    "bounces": _scenario("the largest route takes all and bounces 30 % later", _trouble(route="largest", arrival=0.67)),
    "slows": _scenario(
        "the largest route delivers after ten minutes", _trouble(route="largest", delay=Duration(600.0))
    ),
    "loses-receipts": _scenario("the largest route sends no receipts", _trouble(route="largest", receipts=0.0)),
    "one-class": _scenario(
        "the largest route defers 30 % of what goes to gmail.com",
        _trouble(route="largest", class_="gmail.com", success=0.68),
        classes=_CLASSES,
    ),
    "one-class-dies": _scenario(
        "the largest route is refused by gmail.com",
        _trouble(route="largest", class_="gmail.com", success=0.0),
        classes=_CLASSES,
    ),
    "all-at-once": _scenario(
        "the largest route slows, bounces and defers, then dies; the smallest sends no receipts",
        _trouble(600.0, 1800.0, route="largest", success=0.8, arrival=0.8, delay=Duration(120.0)),
        _trouble(1200.0, 1800.0, route="largest", success=0.0),
        _trouble(900.0, 1800.0, route="smallest", receipts=0.0),
    ),
    "outage-of-all": _scenario(
        "all routes die; the largest is back five minutes after the first, the smallest ten",
        _trouble(1200.0, 1500.0, route="largest", success=0.0),
        _trouble(1200.0, 1800.0, route="smallest", success=0.0),
        _trouble(600.0, 1200.0, success=0.0),
    ),
    "all-good": _scenario("all routes are equally good"),
    "all-bad": _scenario("all routes are equally bad", _trouble(success=0.5)),
}

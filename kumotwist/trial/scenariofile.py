"""Scenarios of the user's own, from TOML; see docs/routing.md for one.

Public: `read`. What can go wrong: ConfigError that names the file and the line or option.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kumotwist.config.option import Duration, option, options
from kumotwist.config.routes import LearnConfig, OnFailure, RouteEntry, RouteTableConfig
from kumotwist.config.structure import hint, structure
from kumotwist.core.errors import ConfigError
from kumotwist.trial.scenario import Scenario, Trouble
from kumotwist.trial.shipped import EXAMPLE, SCENARIOS

#: Octets of a scenario. Ours: a hundred stretches of trouble are twenty thousand.
_MAX_FILE: Final = 1024 * 1024
_ALL: Final[Mapping[str, float]] = {"": 1.0}


@options
class _Plan:
    """What a file may say."""

    title: str | None = option("What happens, in a few words; none: the file's name.", default=None)
    duration: Duration = option("How long it lasts.", default=Duration(3600.0))
    rate: float = option("Messages a second.", default=25.0)
    classes: Mapping[str, float] = option("Classes of messages with their parts.", default=_ALL, is_hashed=False)
    routes: tuple[RouteEntry, ...] = option("The table's routes, unless a policy has them.", default=())
    learn: LearnConfig = option("How the table learns.", factory=LearnConfig)
    on_failure: OnFailure = option("As in a route table.", default="retry")
    sticky_by: str | None = option("As in a route table.", default=None)
    trouble: tuple[Trouble, ...] = option("What goes wrong.", default=())


def read(name: str, table: RouteTableConfig | None = None) -> Scenario:
    """The scenario of that name, or in the TOML file of that name, on `table` if there is one. Raises ConfigError."""
    if name in SCENARIOS:
        return SCENARIOS[name].on(table or EXAMPLE, name)
    stem = Path(name).stem
    plan = structure(_Plan, _load(name), name)
    try:
        table = table or _table(stem, plan)
        scenario = Scenario(
            title=stem if plan.title is None else plan.title,
            table=table,
            trouble=plan.trouble,
            classes=plan.classes,
            duration=plan.duration,
            rate=plan.rate,
        )
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
    return scenario.on(table, name)


def _table(stem: str, plan: _Plan) -> RouteTableConfig:
    if not plan.routes:
        raise ValueError("has no [[routes]]; write some, or take the table of a policy with --policy")
    return RouteTableConfig(
        name=stem, routes=plan.routes, learn=plan.learn, on_failure=plan.on_failure, sticky_by=plan.sticky_by
    )


def _load(name: str) -> Mapping[str, Any]:
    try:
        with Path(name).open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            raise ConfigError(f"{name}: a scenario has at most {_MAX_FILE:,} octets")
        return tomllib.loads(data.decode())
    except FileNotFoundError:
        known = ", ".join(SCENARIOS)
        raise ConfigError(f"no scenario '{name}'{hint(name, SCENARIOS)}; there are {known}, or name a file") from None
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from None
    except RecursionError:
        raise ConfigError(f"{name}: is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is no text in UTF-8: octet {error.start + 1:,} begins no character") from None
    except ValueError as error:  # TOML that is none, a name that no file can have
        raise ConfigError(f"{name!a}: {error}" if "\0" in name else f"{name}: {error}") from None

"""`kumotwist simulate`: outages against the real selection code, and against what else could have chosen.

Public: `question`, `run`. Exit status 2 for a wrong command line or scenario.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from errno import EACCES, ENOTDIR
from pathlib import Path
from typing import Final

from kumotwist.config.routes import RouteTableConfig
from kumotwist.core.errors import ConfigError
from kumotwist.trial.commandline import CommandLine
from kumotwist.trial.picture import as_png, as_svg, has_font
from kumotwist.trial.results import Result, as_json, as_table, not_played, play
from kumotwist.trial.scenario import Scenario
from kumotwist.trial.scenariofile import read
from kumotwist.trial.shipped import SCENARIOS

#: Seeds of one command. Ours: medians do not move any more.
_MAX_SEEDS: Final = 100
_BLOCK: Final = re.compile(r"(<!-- simulation -->\n).*?(<!-- /simulation -->)", re.DOTALL)


def question(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. Exits with 2 when it is wrong."""
    parser = CommandLine(
        prog="kumotwist simulate",
        description="What outages would do to a route table: learned shares, GOV.UK Notify's rule and fixed weights on "
        "the same messages. Nothing is sent.",
    )
    parser.add_argument("--scenario", action="append", required=True, help=f"a TOML file, all, {', '.join(SCENARIOS)}")
    parser.add_argument("--policy", help="take the table from this policy")
    parser.add_argument("--table", metavar="NAME", help="the policy's table of that name")
    parser.add_argument(
        "--queue",
        action="append",
        default=[],
        metavar="NAME",
        help="find the policy's table by a queue that goes by it, such as campaign:tenant@example.com",
    )
    parser.add_argument("--seed", type=int, default=1, help="of what is left to chance")
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="run N times, each with the next seed, and show medians"
    )
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw the shares of each scenario as SVG and PNG")
    parser.add_argument("--json", action="store_true", help="results for programs")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="put the table into the page's simulation block")
    asked = parser.parse_args(arguments)
    if not 1 <= asked.seeds <= _MAX_SEEDS:
        parser.error(f"--seeds: between 1 and {_MAX_SEEDS}")
    if asked.policy is None and (asked.table is not None or asked.queue):
        parser.error("--table and --queue are about a --policy")
    return asked


def run(asked: argparse.Namespace, table: RouteTableConfig | None = None) -> int:
    """Read, play and show; `table` is the policy's. The exit status."""
    names = [one for name in asked.scenario for one in (SCENARIOS if name == "all" else (name,))]
    try:
        scenarios = {name: read(name, table) for name in names}
        page = _page(asked.into) if asked.into is not None else ""
        if asked.plot is not None:
            _check_place(asked.plot)
            if not has_font():
                sys.stderr.write("note: no font is installed: the PNG pictures have no words, the SVG ones do\n")
        results = [_played(name, one, asked) for name, one in scenarios.items()]
        shown = as_table(results, not_played(table) if table is not None else "")
        if asked.into is not None:
            asked.into.write_text(_BLOCK.sub(lambda match: f"{match[1]}{shown}{match[2]}", page))
    except ConfigError as error:
        sys.stderr.write(f"kumotwist simulate: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"kumotwist simulate: {error.filename}: {error.strerror}\n")
        return 2
    sys.stdout.write(json.dumps(as_json(results), indent=1) + "\n" if asked.json else shown)
    return 0


def _check_place(directory: Path) -> None:
    """Whether pictures can be put there is known before minutes of work. Raises OSError."""
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(ENOTDIR, "is no directory", str(directory))
    directory.mkdir(parents=True, exist_ok=True)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(EACCES, "cannot be written to", str(directory))


def _played(name: str, scenario: Scenario, asked: argparse.Namespace) -> Result:
    result = play(name, scenario, range(asked.seed, asked.seed + asked.seeds))
    if asked.plot is not None:
        picture = as_svg(result)
        path = asked.plot / Path(name).stem
        path.with_suffix(".svg").write_text(picture)
        path.with_suffix(".png").write_bytes(as_png(picture))
    return result


def _page(path: Path) -> str:
    """The page to write to. Raises ConfigError, OSError."""
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    if _BLOCK.search(text) is None:
        raise ConfigError(f"{path}: has no lines <!-- simulation --> and <!-- /simulation -->")
    return text

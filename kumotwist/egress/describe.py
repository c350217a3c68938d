"""The parts of a channel's page that are made from its declarations: options, errors, losses.

Pages stand in `docs/channels`, named by protocol and written by hand, with
blocks that this fills: `<!-- options -->`, `<!-- errors -->` and, where a channel
takes messages apart, `<!-- losses -->`, each up to its closing `<!-- /... -->`.
A channel that is no HTTP API has an `error_table` of its own.
Run as `python -m kumotwist.egress.describe DIRECTORY`; `make docs` does.

Public: `filled`. What can go wrong: KeyError for a page of a protocol that does not exist.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from kumotwist.config.describe import option_table
from kumotwist.egress.api.judge import COMMON, Fault, Rule
from kumotwist.egress.protocols import load
from kumotwist.proto.mime.losses import LossKind

_FATES: Final = {
    Fault.TRANSIENT: "later, by the queue's schedule",
    Fault.PERMANENT: "bounced",
    Fault.THROTTLED: "everything waits as long as told",
    Fault.ACCOUNT: "everything waits (`rest`), nothing is charged or bounced",
    Fault.DEAD: "bounced, and a DeadAddress record",
}
_REST: Final = (
    "| any other 4yz | | | bounced |",
    "| any other 5yz | | | later, by the queue's schedule |",
)


def filled(page: str, name: str) -> str:
    """The page of protocol `name` with its blocks made anew."""
    kind = load(name)
    page = _block(page, "options", option_table(kind.options))
    module = sys.modules[kind.__module__]
    rules: Sequence[Rule] = getattr(module, "RULES", ())
    table: Callable[[], str] | None = getattr(module, "error_table", None)
    page = _block(page, "errors", _errors(rules) if table is None else table())
    return _block(page, "losses", _losses())


def _block(page: str, name: str, text: str) -> str:
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    return re.sub(pattern, lambda match: f"{match[1]}{text}{match[2]}", page, flags=re.DOTALL)


def _errors(rules: Sequence[Rule]) -> str:
    rows = ["| status | code or text | meaning | what happens |", "|---|---|---|---|"]
    rows += [_row(rule) for rule in (*rules, *(one for one in COMMON if not _is_covered(one, rules)))]
    return "\n".join((*rows, *_REST, ""))


def _is_covered(rule: Rule, rules: Sequence[Rule]) -> bool:
    """Whether `rules`, which go before it, leave nothing for `rule`."""
    whole = [one.statuses for one in rules if one.code is None and one.says is None]
    return all(any(status in statuses for statuses in whole) for status in rule.statuses)


def _losses() -> str:
    rows = [f"| `{kind.value}` | {kind.meaning} |" for kind in LossKind]
    return "\n".join(("| named | what happened |", "|---|---|", *rows, ""))


def _row(rule: Rule) -> str:
    said = ", ".join(f"`{one}`" for one in (rule.code, rule.says) if one is not None)
    statuses = ", ".join(map(str, rule.statuses)) or "any"
    return f"| {statuses} | {said} | {rule.meaning} | {_FATES[rule.fault]} |"


if __name__ == "__main__":
    for path in sorted(Path(sys.argv[1]).glob("*.md")):
        path.write_text(filled(path.read_text(), path.stem))

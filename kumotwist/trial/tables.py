"""Which route table of a policy a simulation is about.

Public: `table_of`. What can go wrong: PolicyError, and ConfigError for a wrong
command line; both tell the names of tables as far as they can be known: those
that queues go by, and the stages of their fallbacks. A handler may answer any
name, so a table of another name is said to be one that was only asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from kumotwist.config.routes import RouteTableConfig
from kumotwist.config.structure import hint
from kumotwist.core import queuename
from kumotwist.core.errors import ConfigError, PolicyError, UnknownTable
from kumotwist.core.interfaces import QueuePolicy
from kumotwist.lua.validate import SAMPLE_DOMAINS


async def table_of(policy: QueuePolicy, name: str | None, queues: Sequence[str]) -> RouteTableConfig:
    """The table of that name; without one, the table of the queues `queues`, or of sample domains."""
    asked = queues or SAMPLE_DOMAINS
    known = await _names(policy, asked)
    if name is None:
        return await _read(policy, _only(known, asked), known)
    known = await _with_stages(policy, known)
    try:
        table = await _read(policy, name, known)
    except UnknownTable as error:
        raise ConfigError(f"--table: {error}") from None
    if name not in known:
        others = f"go by {', '.join(known)}" if known else f"({', '.join(asked)}) name no table"
        sys.stderr.write(
            f"note: the queues asked about {others}; get_route_table was asked for '{name}' and gave one"
            f"{hint(name, known)}\n"
        )
    return table


async def _read(policy: QueuePolicy, name: str, known: Sequence[str]) -> RouteTableConfig:
    try:
        return await policy.route_table(name)
    except PolicyError as error:
        names = f"; queues name {', '.join(known)}{hint(name, known)}" if known and name not in known else ""
        raise type(error)(f"route table '{name}': {error}{names}") from None


async def _with_stages(policy: QueuePolicy, known: Sequence[str]) -> list[str]:
    """These tables, and those that are stages of their fallbacks."""
    found = dict.fromkeys(known)
    for name in known:
        with suppress(PolicyError):
            found.update(dict.fromkeys(stage.route_table for stage in (await policy.route_table(name)).fallback))
    return list(found)


async def _names(policy: QueuePolicy, queues: Sequence[str]) -> list[str]:
    """The tables that the queues go by, in the order of their first use."""
    found: dict[str, None] = {}
    for queue in queues:
        try:
            config = await policy.queue_config(queuename.parse(queue))
        except ValueError as error:
            raise ConfigError(f"--queue '{queue}': {error}") from None
        if config.route_table is not None:
            found[config.route_table] = None
    return list(found)


def _only(known: Sequence[str], queues: Sequence[str]) -> str:
    if len(known) == 1:
        return known[0]
    asked = ", ".join(queues)
    if known:
        raise ConfigError(f"the policy has several route tables: {', '.join(known)}; choose one with --table")
    raise ConfigError(
        f"no route table: get_queue_config names none for {asked}; name one with --table, or a queue that goes by one "
        "with --queue (such as campaign:tenant@example.com)"
    )

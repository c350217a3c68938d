"""Which route table of a policy a simulation is about.

Public: `table_of`. What can go wrong: PolicyError, and ConfigError that tells
the names of tables as far as they can be known.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kumotwist.config.routes import RouteTableConfig
from kumotwist.config.structure import hint
from kumotwist.core import queuename
from kumotwist.core.errors import ConfigError, PolicyError
from kumotwist.core.interfaces import QueuePolicy
from kumotwist.lua.validate import SAMPLE_DOMAINS


async def table_of(policy: QueuePolicy, name: str | None, queues: Sequence[str]) -> RouteTableConfig:
    """The table of that name; without one, the table of the queues `queues`, or of sample domains."""
    known = await _names(policy, queues or SAMPLE_DOMAINS)
    if name is None:
        name = _only(known, queues or SAMPLE_DOMAINS)
    elif known and name not in known:
        sys.stderr.write(f"note: the queues asked about go by {', '.join(known)}, none by '{name}'\n")
    try:
        return await policy.route_table(name)
    except PolicyError as error:
        names = f"; queues name {', '.join(known)}{hint(name, known)}" if known and name not in known else ""
        raise PolicyError(f"route table '{name}': {error}{names}") from None


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

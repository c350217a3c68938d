"""The way of a message that goes by a route table.

Public: `Way`, `Kept`.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class Way:
    """The table, the route that it chose, and the class of messages that the choice was made for ("" for all)."""

    table: str
    route: str
    name: str


@frozen
class Kept:
    """What a message waits for that found no room: the `routes` of `table` whose turn it was, in their order.

    `share` is what the first of them had then.
    """

    table: str
    routes: tuple[str, ...]
    share: float

"""The way of a message that goes by a route table.

Public: `Way`.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class Way:
    """The table, the route that it chose, and the class of messages that the choice was made for ("" for all)."""

    table: str
    route: str
    name: str

"""Methods of the message facade that read reports: bounces and complaints that came by mail.

Public: `REPORT_METHODS`, named as Lua calls them; `lua.message` makes methods of
them. Nothing goes wrong: a message that is no such report gives nil.
"""

from __future__ import annotations

from typing import Final

from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.lua.messageheaders import BodyMethod
from kumotwist.proto import arf, dsn


def parse_rfc3464(_: Message, body: bytes) -> JsonObject | None:
    """The delivery status notification that it is, as a table, or nil."""
    return dsn.to_object(body)


def parse_rfc5965(_: Message, body: bytes) -> JsonObject | None:
    """The complaint that it is, as a table, or nil."""
    return arf.parse(body)


REPORT_METHODS: Final[tuple[BodyMethod, ...]] = (parse_rfc3464, parse_rfc5965)

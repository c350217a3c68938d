"""The connection's metadata as policy sees it: `conn_meta`.

Public: `CONNECTION`, the facade of `core.connection.ConnectionMeta`.
"""

from __future__ import annotations

from typing import Final

from kumotwist.core.connection import ConnectionMeta
from kumotwist.core.json import Json, JsonObject
from kumotwist.lua.binding import text
from kumotwist.lua.convert import HostClass, json_value


def get_meta(conn: ConnectionMeta, name: object) -> Json:
    """The value of a metadata key, or nil."""
    return conn.meta.get(text(name, "name"))


def set_meta(conn: ConnectionMeta, name: object, value: object = None) -> None:
    """Set a metadata key; messages that come over the connection start with a copy of all."""
    key = text(name, "name")
    conn.meta[key] = json_value(value, f"meta '{key}'")


def auth_info(conn: ConnectionMeta) -> JsonObject:
    """Who is at the other end: a copy of peer_address, identities and groups."""
    return conn.auth.to_json()


CONNECTION: Final = HostClass(
    "conn_meta", methods={"get_meta": get_meta, "set_meta": set_meta, "auth_info": auth_info}, fields={}, meta={}
)

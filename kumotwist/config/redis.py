"""Options of the Redis server that machines share limits through.

Public: `RedisOptions`, `RedisNode`. What can go wrong: ValueError for an address
that is none; it never shows the address, which may hold a password.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from kumotwist.config.bounds import positive
from kumotwist.config.option import Duration, WrongOption, option, options

_PORT: Final = 6379
_ONE_CONNECTION: Final = "each worker process has one connection, on which questions do not wait for each other"


@frozen
class RedisNode:
    """Where a Redis server is, and who we are to it."""

    host: str
    port: int
    database: int | None
    is_tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> RedisNode:
        """`redis://[user][:password]@host[:port][/database]`, `rediss` for TLS. Raises ValueError."""
        try:
            parts = urlsplit(url)
            port, path = parts.port or _PORT, parts.path.strip("/")
            database = int(path) if path else None
        except ValueError:
            # The error's own words hold a part of the address.
            raise WrongOption("node", "has a wrong port or database in it") from None
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise WrongOption("node", "must be like 'redis://10.0.0.1:6379/0', or rediss:// for TLS")
        user, password = (unquote(one) if one else None for one in (parts.username, parts.password))
        return cls(parts.hostname, port, database, parts.scheme == "rediss", user, password)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _one_node(_: object, __: object, value: str | tuple[str, ...]) -> None:
    nodes = (value,) if isinstance(value, str) else value
    if len(nodes) != 1:
        raise WrongOption("node", "must name one server: Redis clusters are not supported by kumotwist")
    RedisNode.parse(nodes[0])


def _no_cluster(_: object, __: Any, value: bool) -> None:
    if value:
        raise WrongOption("cluster", "cannot be true: Redis clusters are not supported by kumotwist")


@options
class RedisOptions:
    """The Redis server."""

    node: str | tuple[str, ...] = option(
        "Its address, `redis://[user][:password]@host[:port][/database]`, or `rediss://` for TLS.",
        secret=True,
        validator=_one_node,
    )
    username: str | None = option("The user, where the address names none.", default=None)
    password: str | None = option("The password, where the address has none.", default=None, secret=True)
    connect_timeout: Duration = option(
        "How long a try to connect may take.", default=Duration(30.0), validator=positive
    )
    response_timeout: Duration = option(
        "How long an answer may take, before the connection is given up and made anew.",
        default=Duration(5.0),
        validator=positive,
    )
    pool_size: int = option("Connections.", default=10, no_effect=_ONE_CONNECTION)
    wait_timeout: Duration = option(
        "How long to wait for a free connection.", default=Duration(30.0), no_effect=_ONE_CONNECTION
    )
    recycle_timeout: Duration | None = option(
        "How long the test of a used connection may take.", default=None, no_effect=_ONE_CONNECTION
    )
    read_from_replicas: bool = option("Ask replicas.", default=False, no_effect="limits are always written")
    cluster: bool = option(
        "Whether it is a Redis cluster; only `false` is taken.", default=False, validator=_no_cluster
    )

    @property
    def server(self) -> RedisNode:
        """The address in its parts."""
        node = RedisNode.parse(self.node if isinstance(self.node, str) else self.node[0])
        return RedisNode(
            node.host,
            node.port,
            node.database,
            node.is_tls,
            node.username or self.username,
            node.password or self.password,
        )

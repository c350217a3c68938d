"""What is known about a client's connection, and who it proved to be.

Public: `ConnectionMeta`, `AuthInfo`, `Identity`. The meta dictionary is what
policy sees and edits; a message received over the connection starts with a
copy of it.
"""

from __future__ import annotations

from attrs import define, field, frozen

from kumotwist.core.json import Json, JsonObject


@frozen
class Identity:
    """A proven name. `context` tells how: `SmtpAuthPlainAuthentication`, `HttpBasicAuth`, ..."""

    identity: str
    context: str


@frozen
class AuthInfo:
    """Who is at the other end: address, proven identities, groups."""

    peer_address: str | None = None
    identities: tuple[Identity, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def is_authenticated(self) -> bool:
        """Whether any identity was proven."""
        return bool(self.identities)

    def merged(self, other: AuthInfo) -> AuthInfo:
        """Both taken together; our peer address wins."""
        return AuthInfo(
            self.peer_address or other.peer_address,
            tuple(dict.fromkeys((*self.identities, *other.identities))),
            tuple(dict.fromkeys((*self.groups, *other.groups))),
        )

    def to_json(self) -> JsonObject:
        """The form policy sees."""
        identities: list[Json] = [{"identity": one.identity, "context": one.context} for one in self.identities]
        return {"peer_address": self.peer_address, "identities": identities, "groups": list(self.groups)}


@define(eq=False)
class ConnectionMeta:
    """Facts about one connection, by name, and its `AuthInfo`."""

    meta: JsonObject = field(factory=dict)
    auth: AuthInfo = field(factory=AuthInfo)

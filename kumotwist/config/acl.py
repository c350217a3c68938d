"""Access control lists: who may do what to which HTTP resource.

Public: `AccessControlList`, `AclRule` and the criteria. The first rule that
matches decides; none matching means denied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from attrs import frozen

from kumotwist.core.connection import AuthInfo


@frozen
class IdentityIs:
    """Matches by what was proven: a user, a group, or merely (un)authenticated."""

    kind: Literal["Any", "Authenticated", "Unauthenticated", "Group", "Individual"]
    name: str = ""

    def matches(self, auth: AuthInfo) -> bool:
        """Whether `auth` meets this criterion."""
        match self.kind:
            case "Any":
                return True
            case "Authenticated":
                return auth.is_authenticated
            case "Unauthenticated":
                return not auth.is_authenticated
            case "Group":
                return self.name in auth.groups
            case "Individual":
                return any(one.identity == self.name for one in auth.identities)


@frozen
class MachineIs:
    """Matches the peer's IP address."""

    address: str

    def matches(self, auth: AuthInfo) -> bool:
        """Whether `auth` meets this criterion."""
        return auth.peer_address == self.address


@frozen
class AllOf:
    """Matches when every part does."""

    parts: tuple[Criterion, ...]

    def matches(self, auth: AuthInfo) -> bool:
        """Whether `auth` meets this criterion."""
        return all(part.matches(auth) for part in self.parts)


@frozen
class AnyOf:
    """Matches when some part does."""

    parts: tuple[Criterion, ...]

    def matches(self, auth: AuthInfo) -> bool:
        """Whether `auth` meets this criterion."""
        return any(part.matches(auth) for part in self.parts)


@frozen
class Not:
    """Matches when its part does not."""

    part: Criterion

    def matches(self, auth: AuthInfo) -> bool:
        """Whether `auth` meets this criterion."""
        return not self.part.matches(auth)


Criterion: TypeAlias = IdentityIs | MachineIs | AllOf | AnyOf | Not


@frozen
class AclRule:
    """One rule: to whom, for which privilege (an HTTP method), allowed or not."""

    criteria: Criterion
    privilege: str
    allow: bool


@frozen
class AccessControlList:
    """The rules of one resource, in order."""

    rules: Sequence[AclRule]

    def query(self, auth: AuthInfo, privilege: str) -> bool | None:
        """True or False as the first matching rule says; None when none matches."""
        for rule in self.rules:
            if rule.privilege == privilege and rule.criteria.matches(auth):
                return rule.allow
        return None

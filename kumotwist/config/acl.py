"""Access control lists: who may do what to which HTTP resource.

Public: `AccessControlList`, `AclRule`, the criteria, and `AccessDecision`,
what came of them. The first rule that matches decides; none matching means
denied. `to_json` gives rules and criteria the form that policies write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from attrs import frozen

from kumotwist.core.connection import AuthInfo
from kumotwist.core.json import Json, JsonObject


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

    def to_json(self) -> JsonObject:
        """As policies write it."""
        return {"Identity": {self.kind: self.name if self.kind in ("Group", "Individual") else {}}}


@frozen
class MachineIs:
    """Matches the peer's IP address."""

    address: str

    def matches(self, auth: AuthInfo) -> bool:
        """Whether `auth` meets this criterion."""
        return auth.peer_address == self.address

    def to_json(self) -> JsonObject:
        """As policies write it."""
        return {"Machine": self.address}


@frozen
class AllOf:
    """Matches when every part does."""

    parts: tuple[Criterion, ...]

    def matches(self, auth: AuthInfo) -> bool:
        """Whether `auth` meets this criterion."""
        return all(part.matches(auth) for part in self.parts)

    def to_json(self) -> JsonObject:
        """As policies write it."""
        return {"AllOf": list[Json](part.to_json() for part in self.parts)}


@frozen
class AnyOf:
    """Matches when some part does."""

    parts: tuple[Criterion, ...]

    def matches(self, auth: AuthInfo) -> bool:
        """Whether `auth` meets this criterion."""
        return any(part.matches(auth) for part in self.parts)

    def to_json(self) -> JsonObject:
        """As policies write it."""
        return {"AnyOf": list[Json](part.to_json() for part in self.parts)}


@frozen
class Not:
    """Matches when its part does not."""

    part: Criterion

    def matches(self, auth: AuthInfo) -> bool:
        """Whether `auth` meets this criterion."""
        return not self.part.matches(auth)

    def to_json(self) -> JsonObject:
        """As policies write it."""
        return {"Not": self.part.to_json()}


Criterion: TypeAlias = IdentityIs | MachineIs | AllOf | AnyOf | Not


@frozen
class AclRule:
    """One rule: to whom, for which privilege (an HTTP method), allowed or not."""

    criteria: Criterion
    privilege: str
    allow: bool

    def to_json(self) -> JsonObject:
        """As policies write it."""
        access = "Allow" if self.allow else "Deny"
        return {"criteria": self.criteria.to_json(), "privilege": self.privilege, "access": access}


@frozen
class AccessControlList:
    """The rules of one resource, in order."""

    rules: Sequence[AclRule]

    def match(self, auth: AuthInfo, privilege: str) -> AclRule | None:
        """The first rule that matches, or None."""
        for rule in self.rules:
            if rule.privilege == privilege and rule.criteria.matches(auth):
                return rule
        return None

    def query(self, auth: AuthInfo, privilege: str) -> bool | None:
        """True or False as the first matching rule says; None when none matches."""
        rule = self.match(auth, privilege)
        return rule.allow if rule is not None else None


@frozen(kw_only=True)
class AccessDecision:
    """Whether `privilege` on `resource` is given, and why.

    `considered` are the resources that had no rule to say so, in the order
    asked; `matching` is the one whose `rule` decided. Both are None when none
    did.
    """

    resource: str
    privilege: str
    considered: tuple[str, ...]
    matching: str | None = None
    rule: AclRule | None = None

    @property
    def is_allowed(self) -> bool:
        """No rule, no access."""
        return self.rule is not None and self.rule.allow

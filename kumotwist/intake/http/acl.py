"""Who may do what at which path of an HTTP listener.

A request is judged by the rules of its resource, then of the resources above
it: `http_listener/<ip:port>/<path>` and shorter, `http_listener/<ip:port>`,
`http_listener/*/<path>` and shorter, `http_listener`. The first rule that
matches decides; none means no. Policy's `get_acl_definition` stands in for
the built-in rules of a resource where it answers.

Public: `Authorizer`, `DEFAULT_RULES`, `resources`. What can go wrong:
`HttpError` 401 when it is not allowed, 500 when policy failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from kumotwist.config.acl import AccessControlList, AccessDecision, AclRule, AnyOf, Criterion, IdentityIs
from kumotwist.core.connection import AuthInfo
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.interfaces import Auditor, HttpPolicy
from kumotwist.intake.http.auth import CHALLENGE, TRUSTED_GROUP, summary
from kumotwist.net.clock import Clock
from kumotwist.net.router import HttpError, HttpRequest
from kumotwist.records.acct import NO_ACCT_LOG

log: Final = Logger()

#: KumoMTA cuts a path to so many characters and components before it makes resources of it.
MAX_PATH: Final = 256
MAX_COMPONENTS: Final = 10
#: Seconds that a decision is kept, and how many are. Ours: an edited ACL takes effect within ten seconds.
DECISION_TTL: Final = 10.0
MAX_DECISIONS: Final = 1024


def _allow(criteria: Criterion) -> AccessControlList:
    return AccessControlList(
        tuple([AclRule(criteria, privilege, True) for privilege in ("GET", "HEAD", "POST", "PUT", "DELETE")])
    )


_TRUSTED: Final = IdentityIs("Group", TRUSTED_GROUP)
#: KumoMTA's default ACL (assets/acls/default.toml), as far as we serve its resources. `send` and `openapi.json` are
#: ours, and open to whom `inject` is.
DEFAULT_RULES: Final[Mapping[str, AccessControlList]] = {
    "http_listener/*/api/check-liveness": _allow(IdentityIs("Any")),
    "http_listener/*/api/inject": _allow(AnyOf((_TRUSTED, IdentityIs("Authenticated")))),
    "http_listener/*/api/send": _allow(AnyOf((_TRUSTED, IdentityIs("Authenticated")))),
    "http_listener/*/api/openapi.json": _allow(AnyOf((_TRUSTED, IdentityIs("Authenticated")))),
    "http_listener/*/api/admin": _allow(_TRUSTED),
    "http_listener/*/api/machine-info": _allow(_TRUSTED),
    "http_listener/*/api/xfer": _allow(_TRUSTED),
    "http_listener/*/metrics": _allow(_TRUSTED),
    "http_listener/*/metrics.json": _allow(_TRUSTED),
}


def resources(local_address: str, path: str) -> list[str]:
    """The resources of a path, in the order in which they are asked."""
    parts = [part for part in path[:MAX_PATH].split("/") if part][:MAX_COMPONENTS]
    paths = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    mine, anybody = f"http_listener/{local_address}", "http_listener/*"
    return [*[f"{mine}/{one}" for one in paths], mine, *[f"{anybody}/{one}" for one in paths], "http_listener"]


@define(eq=False)
class Authorizer:
    """Judges requests, and has the auditor note it; remembers its decisions for a moment."""

    policy: HttpPolicy
    clock: Clock
    auditor: Auditor = NO_ACCT_LOG
    _decisions: dict[tuple[str, str, str, AuthInfo], tuple[float, AccessDecision]] = field(
        factory=dict, init=False, repr=False
    )

    async def authorize(self, request: HttpRequest) -> None:
        """Return when `request.auth` may do it. Raises HttpError."""
        key = (request.local_address, request.path[:MAX_PATH], request.method, request.auth)
        now = self.clock.seconds()
        kept = self._decisions.get(key)
        if kept is None or kept[0] <= now:
            if len(self._decisions) >= MAX_DECISIONS:
                self._decisions.clear()
            kept = self._decisions[key] = (now + DECISION_TTL, await self._decide(request))
        decision = kept[1]
        await self.auditor.authorization(decision, request.auth)
        if not decision.is_allowed:
            who = summary(request.auth)
            raise HttpError(401, f"{who} not permitted {request.method} on {decision.resource}", CHALLENGE)

    async def _decide(self, request: HttpRequest) -> AccessDecision:
        asked = resources(request.local_address, request.path)
        for number, resource in enumerate(asked):
            rules = await self._rules(resource)
            rule = rules.match(request.auth, request.method) if rules is not None else None
            if rule is not None:
                return AccessDecision(
                    resource=asked[0],
                    privilege=request.method,
                    considered=tuple(asked[:number]),
                    matching=resource,
                    rule=rule,
                )
        return AccessDecision(resource=asked[0], privilege=request.method, considered=tuple(asked))

    async def _rules(self, resource: str) -> AccessControlList | None:
        try:
            rules = await self.policy.get_acl_definition(resource)
        except (PolicyError, Rejection) as error:
            log.error("get_acl_definition failed for {resource}: {error}", resource=resource, error=error)
            raise HttpError(500, "Error: cannot check permissions now, try again later") from None
        return rules if rules is not None else DEFAULT_RULES.get(resource)

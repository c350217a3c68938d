"""Names of scheduled queues: `campaign:tenant@domain!routing_domain`.

Public: `QueueName`, `compose`, `parse`. Composition and parsing are inverse
for names that we compose; a name set verbatim in the `queue` meta is parsed by
the same rule (split at the first `@`, then left at the first `:`, right at the
first `!`), so `c:@d` has the tenant "" and not None.
"""

from __future__ import annotations

from functools import lru_cache

from attrs import frozen


@frozen
class QueueName:
    """A parsed name. `text` is the name itself; absent parts are None."""

    text: str
    domain: str
    tenant: str | None = None
    campaign: str | None = None
    routing_domain: str | None = None

    @property
    def delivery_domain(self) -> str:
        """The domain that decides where it goes: the routing domain if there is one."""
        return self.routing_domain or self.domain

    def __str__(self) -> str:
        return self.text


def compose(domain: str, tenant: str | None, campaign: str | None, routing_domain: str | None) -> str:
    """The queue name for these parts; `domain` is used as given."""
    if campaign is not None:
        name = f"{campaign}:{tenant or ''}@{domain}"
    elif tenant is not None:
        name = f"{tenant}@{domain}"
    else:
        name = domain
    return f"{name}!{routing_domain}" if routing_domain is not None else name


@lru_cache(maxsize=65536)
def parse(text: str) -> QueueName:
    """Take a queue name apart; every string is a name."""
    left, at, right = text.partition("@")
    if not at:
        left, right = "", text
    domain, bang, routing = right.partition("!")
    routing_domain = routing if bang else None
    if not at:
        return QueueName(text, domain, None, None, routing_domain)
    campaign, colon, tenant = left.partition(":")
    if not colon:
        return QueueName(text, domain, left, None, routing_domain)
    return QueueName(text, domain, tenant, campaign, routing_domain)

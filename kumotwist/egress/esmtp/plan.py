"""Which addresses a session tries, in order, or why there are none.

Public: `make_plan`. A plan that cannot be made raises `ConnectFailed`: with
scope SITE where the whole ready queue shares the fate (KumoMTA's texts).
"""

from __future__ import annotations

from typing import Final

from kumotwist.config.egress import PathConfig
from kumotwist.config.option import Cidrs
from kumotwist.config.queue import SmtpProtocol
from kumotwist.core.errors import ConnectFailed, ResolveError
from kumotwist.core.interfaces import OpenRequest
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.response import INTERNAL_PREFIX, Response, internal
from kumotwist.net import mx
from kumotwist.net.dns import Resolver
from kumotwist.net.mx import Candidate

_NULL_MX: Final = Response.parse(556, "5.1.10 Recipient address has a null MX")
_NO_HOSTS: Final = Response.parse(451, "4.4.4 MX didn't resolve to any hosts")
_ALL_SKIPPED: Final = internal(451, "4.4.4 MX consisted solely of hosts on the skip_hosts list")
#: KumoMTA's words for the two in `requeue_message`. The permanent ones never come there.
_ZERO_HOSTS: Final = "MxResolvedToZeroHosts"
_SKIPPED: Final = "MxWasSkipped"
#: KumoMTA's words before the reasons why no host could be used.
NO_CANDIDATE: Final = f"{INTERNAL_PREFIX}failed to connect to any candidate hosts: "


async def make_plan(resolver: Resolver, protocol: SmtpProtocol, request: OpenRequest) -> list[Candidate]:
    """The candidates for the queue's domain, first to be tried first; at least one."""
    path = request.path
    found = await _resolve(resolver, protocol, request)
    if not found:
        raise _site_fails(Verdict.TRANSIENT, _NO_HOSTS, _ZERO_HOSTS)
    for candidate in found:
        if candidate.address in path.prohibited_hosts:
            raise _site_fails(Verdict.PERMANENT, _prohibited(candidate, path.prohibited_hosts))
    plan = [candidate for candidate in found if candidate.address not in path.skip_hosts]
    if not plan:
        raise _site_fails(Verdict.TRANSIENT, _ALL_SKIPPED, _SKIPPED)
    return plan


def port_of(candidate: Candidate, request: OpenRequest) -> int:
    """The port to connect to: the source's before the candidate's before the path's."""
    path: PathConfig = request.path
    return request.source.remote_port or candidate.port or path.smtp_port


async def _resolve(resolver: Resolver, protocol: SmtpProtocol, request: OpenRequest) -> list[Candidate]:
    strategy = request.path.ip_lookup_strategy
    try:
        if protocol.mx_list:
            return await mx.listed_candidates(resolver, protocol.mx_list, strategy)
        hosts = await mx.exchangers(resolver, request.queue_name.delivery_domain)
        if hosts.is_null:
            raise _site_fails(Verdict.PERMANENT, _NULL_MX)
        return await mx.candidates(resolver, hosts, strategy)
    except ResolveError as problem:
        response = Response(400, f"{NO_CANDIDATE}{problem}")
        raise ConnectFailed(Outcome(Verdict.TRANSIENT, response, Scope.SESSION)) from None


def _prohibited(candidate: Candidate, prohibited: Cidrs) -> Response:
    shown = f"{candidate.name}/{candidate.address}"
    return Response.parse(550, f"5.4.4 {shown} is on the list of prohibited_hosts {prohibited}")


def _site_fails(verdict: Verdict, response: Response, reason: str | None = None) -> ConnectFailed:
    return ConnectFailed(Outcome(verdict, response, Scope.SITE, reason=reason))

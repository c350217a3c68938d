"""Who calls the HTTP listener of a policy under test, and what the listener makes of it.

Public: `Caller`, `admitted`. Raises HttpError as the listener does.
"""

from __future__ import annotations

from attrs import field, frozen

from kumotwist.config.listener import HttpListenerConfig
from kumotwist.core.connection import AuthInfo
from kumotwist.core.interfaces import HttpPolicy
from kumotwist.intake.http.acl import Authorizer
from kumotwist.intake.http.auth import Authenticator
from kumotwist.net.clock import Clock
from kumotwist.net.http import basic_auth
from kumotwist.net.router import HttpRequest


@frozen
class Caller:
    """An address, and credentials if there are any."""

    peer: str = "127.0.0.1"
    user: str | None = None
    password: str = field(default="", repr=False)
    listener: int = 1


async def admitted(config: HttpListenerConfig, policy: HttpPolicy, clock: Clock, caller: Caller, path: str) -> AuthInfo:
    """Who that is, if they may post to `path`. Raises HttpError."""
    headers: dict[str, str] = {}
    if caller.user is not None:
        headers["authorization"] = basic_auth(caller.user, caller.password).decode()
    request = HttpRequest(
        "POST", path, "", headers.get, b"", caller.peer, config.listen, repeats=lambda name: int(name in headers)
    )
    request.auth = await Authenticator(policy, config.trusted_hosts, clock).authenticate(request)
    await Authorizer(policy, clock).authorize(request)
    return request.auth

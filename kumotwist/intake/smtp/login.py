"""A login by AUTH: policy says who it is, and the auditor hears of it either way.

Public: `log_in`, `proven_by_password`. What can go wrong: PolicyError and Rejection from `smtp_server_auth_plain`.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import CancelledError

from kumotwist.core.connection import AuthInfo, ConnectionMeta, Identity
from kumotwist.core.errors import PolicyError
from kumotwist.core.interfaces import SmtpPolicy
from kumotwist.intake.smtp.client import Client
from kumotwist.intake.smtp.listener import Listener
from kumotwist.proto.smtp.events import Credentials

#: KumoMTA's name for how a name was proven by AUTH.
_AUTHENTICATION: Final = "SmtpAuthPlainAuthentication"


async def log_in(listener: Listener, client: Client, given: Credentials) -> bool:
    """Whether the client is who it says; if so, it is noted as that."""
    attempted, auditor = Identity(given.authc, _AUTHENTICATION), listener.auditor
    try:
        proven = await _proven(listener.policy, client.conn, given)
    except CancelledError:
        raise
    except Exception:
        await auditor.authentication(attempted, False, client.conn.auth)
        raise
    if proven is not None:
        client.proven(proven, given.authz, given.authc)
    await auditor.authentication(attempted, proven is not None, client.conn.auth)
    return proven is not None


async def _proven(policy: SmtpPolicy, conn: ConnectionMeta, given: Credentials) -> AuthInfo | None:
    """Who policy says that it is, or None: nobody."""
    if not policy.handles("smtp_server_auth_plain"):
        return None
    verdict = await policy.smtp_server_auth_plain(given.authz, given.authc, given.password, conn)
    if isinstance(verdict, AuthInfo):
        if not verdict.is_authenticated:
            raise PolicyError("smtp_server_auth_plain returned an AuthInfo without identities")
        return verdict
    if verdict is False:
        return None
    return proven_by_password(given.authz, given.authc)


def proven_by_password(authz: str, authc: str) -> AuthInfo:
    """Who `authc` is that logged in by its password, to act for `authz`."""
    return AuthInfo(identities=(Identity(authz, "SmtpAuthPlainAuthorization"), Identity(authc, _AUTHENTICATION)))

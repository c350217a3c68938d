"""Events of HTTP intake and the HTTP API: `core.interfaces.HttpPolicy`."""

from __future__ import annotations

from kumotwist.config.acl import AccessControlList
from kumotwist.config.aclform import parse_rules
from kumotwist.core.connection import AuthInfo
from kumotwist.core.errors import ConfigError, PolicyError
from kumotwist.core.message import Message
from kumotwist.lua.binding import Opaque
from kumotwist.lua.hooks.base import Hooks, auth_answer


class HttpHooks(Hooks):
    """What HTTP intake asks."""

    async def http_server_validate_auth_basic(self, user: str, password: str | None) -> AuthInfo | bool:
        """Whether the password is right, or who that is; without a handler it is not."""
        value = await self.ask("http_server_validate_auth_basic", user, password)
        return auth_answer(value, "http_server_validate_auth_basic", self.program)

    async def http_message_generated(self, message: Message, auth: AuthInfo) -> None:
        """Each message of an injection, before it is made durable."""
        if self.handles("http_message_generated"):
            await self.notify("http_message_generated", message, auth.to_json())

    async def get_acl_definition(self, resource: str) -> AccessControlList | None:
        """The rules for exactly this resource, or None when policy has no opinion."""
        value = await self.ask("get_acl_definition", resource)
        where = f"{self.program.source_of('get_acl_definition')}: get_acl_definition"
        if value is None:
            return None
        if isinstance(value, Opaque):
            value = value.value
        if isinstance(value, AccessControlList):
            return value
        try:
            return parse_rules(value, where)
        except ConfigError as error:
            raise PolicyError(str(error)) from None

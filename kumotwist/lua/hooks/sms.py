"""The event of text messages that come in: `core.interfaces.SmsPolicy`."""

from __future__ import annotations

from kumotwist.core.message import Message
from kumotwist.lua.hooks.base import Hooks


class SmsHooks(Hooks):
    """What intake of text messages asks."""

    async def sms_received(self, message: Message) -> None:
        """A subscriber's text; the handler may inject it."""
        await self.notify("sms_received", message)

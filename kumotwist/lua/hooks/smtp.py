"""Events of SMTP intake: `core.interfaces.SmtpPolicy`."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.listener import ListenerDomain
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.connection import AuthInfo, ConnectionMeta
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.lua.address import addresses
from kumotwist.lua.binding import mapping, sequence
from kumotwist.lua.convert import json_value
from kumotwist.lua.hooks.base import Hooks, auth_answer, returned

log = Logger()


class SmtpHooks(Hooks):
    """What SMTP intake asks."""

    async def smtp_server_get_dynamic_parameters(self, listener: str, conn: ConnectionMeta) -> JsonObject | None:
        """Overrides of the listener's options for this connection."""
        value = await self.ask("smtp_server_get_dynamic_parameters", listener, conn)
        if value is None:
            return None
        table = json_value(self._table(value, "smtp_server_get_dynamic_parameters"), "listener parameters")
        assert isinstance(table, dict)
        return table

    async def smtp_server_connection_accepted(self, conn: ConnectionMeta) -> None:
        """Before the banner."""
        await self.notify("smtp_server_connection_accepted", conn)

    async def smtp_server_ehlo(
        self, domain: str, conn: ConnectionMeta, extensions: Sequence[str] | None
    ) -> Sequence[str] | None:
        """The list to offer instead, or None; HELO passes no `extensions` and its result is ignored."""
        if extensions is None:
            await self.notify("smtp_server_ehlo", domain, conn)
            return None
        value = await self.ask("smtp_server_ehlo", domain, conn, list(extensions))
        if value is None:
            return None
        offered = self._list(value, "smtp_server_ehlo")
        if not all(isinstance(one, str) and one.isprintable() for one in offered):
            raise self._wrong("smtp_server_ehlo", "a list of EHLO keywords")
        return [str(one) for one in offered]

    async def smtp_server_auth_plain(
        self, authz: str, authc: str, password: str, conn: ConnectionMeta
    ) -> AuthInfo | bool:
        """Whether the password is right, or who that is; without a handler it is not."""
        value = await self.ask("smtp_server_auth_plain", authz, authc, password, conn)
        return auth_answer(value, "smtp_server_auth_plain", self.program)

    async def smtp_server_mail_from(self, sender: EnvelopeAddress, conn: ConnectionMeta) -> None:
        """MAIL FROM."""
        await self.notify("smtp_server_mail_from", sender, conn)

    async def get_listener_domain(self, domain: str, listener: str, conn: ConnectionMeta) -> ListenerDomain | None:
        """What we do for `domain`; None is no opinion."""
        value = await self.ask("get_listener_domain", domain, listener, conn)
        return None if value is None else returned(ListenerDomain, value, "get_listener_domain", self.program)

    async def smtp_server_rcpt_to(self, recipient: EnvelopeAddress, conn: ConnectionMeta) -> None:
        """RCPT TO."""
        await self.notify("smtp_server_rcpt_to", recipient, conn)

    async def smtp_server_data(self, message: Message, conn: ConnectionMeta) -> None:
        """The whole transaction."""
        await self.notify("smtp_server_data", message, conn)

    async def smtp_server_split_transaction(
        self, message: Message, conn: ConnectionMeta
    ) -> Sequence[Sequence[EnvelopeAddress]] | None:
        """How the recipients become messages, or None."""
        event = "smtp_server_split_transaction"
        value = await self.ask(event, message, conn)
        if value is None:
            return None
        try:
            return [addresses(batch, "a batch") for batch in sequence(value, "the result")]
        except ValueError as error:
            raise self._wrong(event, f"a list of lists of addresses: {error}") from None

    async def smtp_server_message_received(self, message: Message, conn: ConnectionMeta) -> None:
        """Each message, before it is made durable."""
        program = self.program
        if "smtp_server_message_received" in program.sources:
            await program.run("smtp_server_message_received", message, conn)

    async def smtp_server_rewrite_response(
        self, code: int, text: str, command: str | None, conn: ConnectionMeta
    ) -> tuple[int | None, str | None]:
        """The reply to give instead; None keeps a part. Never raises."""
        event, program = "smtp_server_rewrite_response", self.program
        if event not in program.sources:
            return None, None
        try:
            results = await program.run(event, code, text, command, conn)
        except CancelledError:
            raise
        except (PolicyError, Rejection) as error:
            log.error("{event} failed and is ignored: {error}", event=event, error=error)
            return None, None
        return _rewritten(results, program.source_of(event))

    def _table(self, value: object, event: str) -> dict[str, object]:
        try:
            return mapping(value, "the result")
        except ValueError:
            raise self._wrong(event, "a table with named entries") from None

    def _list(self, value: object, event: str) -> list[object]:
        try:
            return sequence(value, "the result")
        except ValueError:
            raise self._wrong(event, "a list") from None

    def _wrong(self, event: str, expected: str) -> PolicyError:
        return PolicyError(f"{self.program.source_of(event)}: {event} must return {expected}, or nil")


def _rewritten(results: Sequence[object], source: str) -> tuple[int | None, str | None]:
    code = results[0] if results else None
    text = results[1] if len(results) > 1 else None
    if not (code is None or (isinstance(code, int) and 200 <= code <= 599)):
        log.error("{source}: smtp_server_rewrite_response must return an SMTP code or nil", source=source)
        code = None
    if not (text is None or isinstance(text, str)):
        log.error("{source}: smtp_server_rewrite_response must return a text or nil", source=source)
        text = None
    return code, text

"""Relay rules: for whom we take mail, and what becomes of it after DATA.

Mail is relayed when the client is in `relay_hosts`, or in `relay_from` of the
sender's listener domain, or when the recipient's listener domain says
`relay_to`. A domain that wants reports logged also has its bounce and
complaint reports taken.

Public: `Relay` (one per session), `Fate`. What can go wrong: `PolicyError`
out of `get_listener_domain`.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from attrs import define, field

from kumotwist.config.listener import ListenerDomain, ReportDisposition
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.connection import ConnectionMeta
from kumotwist.core.interfaces import SmtpPolicy
from kumotwist.core.message import Message
from kumotwist.intake.admission import Report
from kumotwist.proto import arf, dsn

#: Listener domains that a session remembers: KumoMTA's number.
MAX_DOMAINS: Final = 16
#: Octets at the start of a message in which a report's content type is looked for. Ours.
_HEADER_REACH: Final = 65536
_REPORT: Final = re.compile(rb"^content-type:[ \t]*(?:\r?\n[ \t]+)?multipart/report\b", re.IGNORECASE | re.MULTILINE)


class Fate(enum.Enum):
    """What becomes of a message that was received."""

    RELAY = "relay"
    RECORD = "record"
    DROP = "drop"


@define(eq=False)
class Relay:
    """The rules as they hold for one client."""

    policy: SmtpPolicy
    conn: ConnectionMeta
    listener: str
    client: str
    is_relay_host: bool
    _domains: dict[str, ListenerDomain | None] = field(factory=dict, init=False)

    @property
    def needs_no_policy(self) -> bool:
        """Whether the answer is yes without asking anybody."""
        return self.is_relay_host and not self.policy.handles("get_listener_domain")

    async def may_receive(self, sender: EnvelopeAddress, recipient: EnvelopeAddress) -> bool:
        """Whether a RCPT for `recipient` is to be taken. Raises PolicyError."""
        if self.needs_no_policy or await self._is_relayed(sender, recipient):
            return True
        domain = await self._domain(recipient.domain)
        return domain is not None and (_logs(domain.log_arf) or _logs(domain.log_oob))

    async def judge(self, message: Message) -> tuple[Fate, Report | None]:
        """What becomes of `message`, by its first recipient, and the report in it that is to be logged.

        Raises PolicyError.
        """
        if self.needs_no_policy:
            return Fate.RELAY, None
        recipient = message.recipients[0]
        is_relayed = await self._is_relayed(message.sender, recipient)
        disposition, report = await self._report(recipient, message.body or b"")
        if disposition == "LogThenDrop" or (report is not None and not is_relayed):
            return Fate.RECORD, report
        return Fate.RELAY if is_relayed else Fate.DROP, report

    async def _is_relayed(self, sender: EnvelopeAddress, recipient: EnvelopeAddress) -> bool:
        if self.is_relay_host:
            return True
        origin = await self._domain(sender.domain)
        if origin is not None and self.client in origin.relay_from:
            return True
        target = await self._domain(recipient.domain)
        return target is not None and target.relay_to

    async def _report(self, recipient: EnvelopeAddress, body: bytes) -> tuple[ReportDisposition, Report | None]:
        domain = await self._domain(recipient.domain)
        if domain is None or not _may_be_report(body):
            return "Ignore", None
        if _logs(domain.log_arf) and (complaint := arf.parse(body)) is not None:
            return _disposition(domain.log_arf), Report(feedback=complaint)
        if _logs(domain.log_oob) and (bounce := dsn.parse(body)) is not None:
            return _disposition(domain.log_oob), Report(bounce=bounce)
        return "Ignore", None

    async def _domain(self, name: str) -> ListenerDomain | None:
        name = name.lower()
        if not name or not self.policy.handles("get_listener_domain"):
            return None
        if name not in self._domains:
            found = await self.policy.get_listener_domain(name, self.listener, self.conn)
            if len(self._domains) >= MAX_DOMAINS:
                del self._domains[next(iter(self._domains))]
            self._domains[name] = found
        return self._domains[name]


def _disposition(value: bool | ReportDisposition) -> ReportDisposition:
    if isinstance(value, bool):
        return "LogThenRelay" if value else "Ignore"
    return value


def _logs(value: bool | ReportDisposition) -> bool:
    return _disposition(value) != "Ignore"


def _may_be_report(body: bytes) -> bool:
    """Whether it is worth taking apart: whether its header block speaks of a `multipart/report` (RFC 6522)."""
    end = body.find(b"\r\n\r\n", 0, _HEADER_REACH)
    return _REPORT.search(body, 0, end if end >= 0 else min(len(body), _HEADER_REACH)) is not None

"""What all sessions of one SMTP listener share: its options, its partners, its counts.

Public: `Listener`, `tls_sources`, `refusal` (what an error means for the client).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.listener import SmtpListenerConfig
from kumotwist.core.errors import ConfigError, Overload, Rejection, SecretUnavailable, SpoolFull, SpoolUnhealthy
from kumotwist.core.ids import IdGenerator
from kumotwist.core.interfaces import Auditor, Gatekeeper, Recorder, SmtpPolicy
from kumotwist.core.stats import Sample
from kumotwist.intake.admission import Admission
from kumotwist.intake.smtp.options import ListenerOptions
from kumotwist.net.clock import Clock
from kumotwist.net.tls import ContextSources, ServerTls
from kumotwist.records.acct import NO_ACCT_LOG

log: Final = Logger()

#: Why nothing is taken any more; KumoMTA does not ask to try later then.
SHUTTING_DOWN: Final = "shutting down"
#: KumoMTA's words for `max_connections`.
TOO_MANY: Final = "too many concurrent sessions. Try later"
_SERVICE: Final = (("service", "esmtp_listener"),)


@define(eq=False)
class Listener:
    """One listener. `hostname` is the machine's, for listeners that name none."""

    options: ListenerOptions
    policy: SmtpPolicy
    admission: Admission
    recorder: Recorder
    gate: Gatekeeper
    tls: ServerTls
    ids: IdGenerator
    clock: Clock
    hostname: str
    auditor: Auditor = NO_ACCT_LOG
    connections: int = field(default=0, init=False)
    connections_total: int = field(default=0, init=False)
    connections_denied: int = field(default=0, init=False)

    def refusal(self) -> str | None:
        """Why no mail can be taken now, in KumoMTA's words, or None."""
        reason = self.gate.refusal()
        return reason if reason is None or reason == SHUTTING_DOWN else f"{reason}. Try later"

    async def load_certificate(self) -> None:
        """Have it at hand before a client asks. Mail flows without it: a wrong one is told, and ends nothing."""
        config = self.options.config
        try:
            await self.tls.context(tls_sources(config, config.hostname or self.hostname))
        except (SecretUnavailable, ConfigError) as error:
            log.error(
                "the listener on {address} refuses STARTTLS as long as this lasts: {error}",
                address=config.listen,
                error=error,
            )

    def samples(self) -> Iterable[Sample]:
        """See `core.stats.StatSource`."""
        yield Sample("connection_count", self.connections, _SERVICE)
        yield Sample("total_connection_count", self.connections_total, _SERVICE)
        yield Sample("total_connections_denied", self.connections_denied, _SERVICE)


def tls_sources(config: SmtpListenerConfig, hostname: str) -> ContextSources:
    """What a session under `config` shows and asks for at STARTTLS."""
    return ContextSources(config.tls_certificate, config.tls_private_key, config.tls_required_client_ca, hostname)


def refusal(error: BaseException, hostname: str) -> Rejection:
    """What a client hears of `error`; what is not its business is logged here."""
    match error:
        case Rejection():
            # A code that is none would confuse the client; the policy's text stays.
            return error if 200 <= error.code <= 599 else Rejection(451, error.text, error.disconnect)
        case SpoolUnhealthy():
            return Rejection(421, f"4.3.2 {hostname} the spool is not accepting writes. Try later")
        case SpoolFull():
            return Rejection(452, "4.3.1 insufficient system storage")
        case Overload():
            return Rejection(451, f"4.3.2 {error}. Try later")
        case CancelledError():
            return Rejection(451, "4.4.5 data_processing_timeout exceeded")
        case _:
            log.error("a session ends: {kind}: {error}", kind=type(error).__name__, error=error)
            return Rejection(421, f"4.3.0 {hostname} technical difficulties")

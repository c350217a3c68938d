"""Options of the ways in: SMTP and HTTP listeners, listener domains, trace headers.

Public: `SmtpListenerConfig`, `HttpListenerConfig`, `ListenerDomain`, `TraceHeaders`,
`host_and_port`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import phonenumbers
from attrs import Attribute

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import LOOPBACK, Cidrs, Duration, WrongOption, option, option_name, options
from kumotwist.config.receipts import ReceiptSources
from kumotwist.core.json import Json

LineEndings: TypeAlias = Literal["Deny", "Allow", "Fix"]
BatchHandling: TypeAlias = Literal["BifurcateAlways", "BatchByDomain"]
ReportDisposition: TypeAlias = Literal["Ignore", "LogOnly", "LogThenRelay", "LogThenDrop"]


def host_and_port(address: str) -> tuple[str, int]:
    """`127.0.0.1:25`, `[::1]:25`, `:25` or `name:25` in its parts, without brackets. Raises ValueError."""
    host, colon, port = address.strip().rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise ValueError(f"{address!r} is not an address to listen on; write it like '127.0.0.1:2525' or '[::1]:2525'")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _address(_: object, attribute: Attribute[str], value: str) -> None:
    """Refuse what cannot be listened on, where it is written."""
    try:
        host_and_port(value)
    except ValueError as error:
        raise WrongOption(option_name(attribute), f"is wrong: {error}") from None


def _region(_: object, attribute: Attribute[str | None], value: str | None) -> None:
    """Refuse what is no country with phone numbers."""
    if value is not None and value not in phonenumbers.SUPPORTED_REGIONS:
        raise WrongOption(option_name(attribute), f"must be a country with phone numbers like 'US', got {value!r}")


@options
class TraceHeaders:
    """Which headers we add to what we accept."""

    received_header: bool = option("Add a Received header.", default=True)
    supplemental_header: bool = option("Add a header that names the recipient and chosen meta.", default=True)
    header_name: str = option("Name of the supplemental header.", default="X-KumoRef")
    include_meta_names: tuple[str, ...] = option("Meta keys to put into it.", default=())


@options
class SmtpListenerConfig:
    """One SMTP listener. `peer` and `via` overlay any of these per client or local network."""

    listen: str = option("Address and port.", default="127.0.0.1:2025", validator=_address)
    hostname: str | None = option("Our name in banner and replies; none: the machine's.", default=None)
    banner: str = option("Text of the banner after the name.", default="KumoMTA")
    relay_hosts: Cidrs = option("Clients that may send to anyone.", default=LOOPBACK)
    max_connections: int = option("Sessions at once, over all workers.", default=32768, unit="connections")
    max_messages_per_connection: int = option("Recipients taken in one session.", default=10000)
    max_recipients_per_message: int = option("Recipients in one transaction.", default=1024)
    max_message_size: int = option("The largest message.", default=20971520, unit="octets")
    line_length_hard_limit: int = option("The longest line of a message.", default=998, unit="octets")
    invalid_line_endings: LineEndings = option("What becomes of bare CR and LF in a message.", default="Deny")
    client_timeout: Duration = option("Wait for the client's next command or data.", default=Duration(60.0))
    data_processing_timeout: Duration = option("Bound on handling one message.", default=Duration(300.0))
    data_buffer_size: int = option(
        "KumoMTA's read buffer.", default=131072, no_effect="reads are as the reactor makes them"
    )
    deferred_spool: bool = option(
        "Answer 250 before the message is on disk.", default=False, no_effect="a 250 always means that it is on disk"
    )
    deferred_queue: bool = option(
        "Answer 250 before policy has seen the message.",
        default=False,
        no_effect="policy sees a message before its 250",
    )
    batch_handling: BatchHandling = option("How recipients are grouped into messages.", default="BifurcateAlways")
    trace_headers: TraceHeaders = option("Headers that we add.", factory=TraceHeaders)
    meta: Mapping[str, Json] = option("Meta given to each connection.", factory=dict)
    peer: Mapping[str, Mapping[str, Json]] = option("Overlays by client network.", factory=dict)
    via: Mapping[str, Mapping[str, Json]] = option("Overlays by local network.", factory=dict)
    allow_xclient: bool = option("Let the client state its origin with XCLIENT.", default=False)
    require_proxy_protocol: bool = option("Expect a PROXY header (v1 or v2) first.", default=False)
    tls_certificate: KeySource | None = option("Certificate chain, PEM; none: self-signed at start.", default=None)
    tls_private_key: KeySource | None = option("Private key, PEM.", default=None, secret=True)
    tls_required_client_ca: KeySource | None = option(
        "CA that must have signed the client's certificate.", default=None
    )


@options
class HttpListenerConfig:
    """One HTTP listener."""

    listen: str = option("Address and port.", default="127.0.0.1:8000", validator=_address)
    hostname: str | None = option("Our name; none: the machine's.", default=None)
    trusted_hosts: Cidrs = option("Clients that need no credentials.", default=LOOPBACK)
    use_tls: bool = option("Speak HTTPS.", default=False)
    tls_certificate: KeySource | None = option("Certificate chain, PEM; none: self-signed at start.", default=None)
    tls_private_key: KeySource | None = option("Private key, PEM.", default=None, secret=True)
    request_body_limit: int = option("The largest body, counted after inflation.", default=2097152, unit="octets")
    default_region: str | None = option(
        "Country of phone numbers without `+`, as `US`; none: such numbers are refused.",
        default=None,
        validator=_region,
    )
    receipts: ReceiptSources = option(
        "Whose receipts to take, at `/receipts/CHANNEL/ACCOUNT`: `{ twilio = { main = { auth_token = … } } }`.",
        factory=ReceiptSources,
    )


@options
class ListenerDomain:
    """What we do for a domain that appears in MAIL or RCPT."""

    relay_to: bool = option("Take mail for it.", default=False)
    relay_from: Cidrs = option("Clients that may send as it.", default=Cidrs())
    log_oob: bool | ReportDisposition = option("What becomes of bounce reports.", default="Ignore")
    log_arf: bool | ReportDisposition = option("What becomes of complaint reports.", default="Ignore")
    ttl: Duration = option("KumoMTA's cache time.", default=Duration(60.0), no_effect="answers are kept per session")

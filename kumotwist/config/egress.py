"""Options of the way out: pools, sources and paths.

What `get_egress_pool`, `get_egress_source` and `get_egress_path_config`
return. Public: `PoolConfig`, `PoolEntry`, `SourceConfig`, `PathConfig`, `UNSPECIFIED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from kumotwist.config.bounds import address, endpoint
from kumotwist.config.keysource import KeySource
from kumotwist.config.option import Cidrs, Duration, option, options
from kumotwist.config.queue import RefreshStrategy
from kumotwist.core.units import Limit, Throttle

#: Name of the built-in pool and of its one source, which bind to nothing.
UNSPECIFIED: Final = "unspecified"

EnableTls: TypeAlias = Literal["Opportunistic", "OpportunisticInsecure", "Required", "RequiredInsecure", "Disabled"]
ReconnectStrategy: TypeAlias = Literal["ConnectNextHost", "ReconnectSameHost", "TerminateSession"]
IpLookupStrategy: TypeAlias = Literal["Ipv4AndIpv6", "Ipv4Only", "Ipv6Only"]

_MEMORY = "memory is bounded otherwise"
_WAKEUP = "dispatchers wake when there is work"
_CIPHERS = "the platform's OpenSSL policy decides"


@options
class PoolEntry:
    """A source and its share in the pool."""

    name: str = option("The egress source.")
    weight: int = option("Its share in the weighted round robin; 0: not used.", default=1)


@options
class PoolConfig:
    """A weighted set of sources."""

    name: str = option("The pool's name.")
    entries: tuple[PoolEntry, ...] = option("Its sources.", default=())
    ttl: Duration = option("How long the answer is kept.", default=Duration(60.0))


@options
class SourceConfig:
    """An address and identity to send from."""

    name: str = option("The source's name.")
    source_address: str | None = option("Local IP address to bind.", default=None)
    ehlo_domain: str | None = option("Name in EHLO.", default=None)
    remote_port: int | None = option("Port to connect to, before any other setting.", default=None)
    socks5_proxy_server: str | None = option(
        "`host:port` of a SOCKS5 proxy that SMTP, LMTP and SMPP go out through.", default=None, validator=endpoint
    )
    socks5_proxy_source_address: str | None = option(
        "IP address that the proxy is to connect from. Needs one that takes BIND before CONNECT, as KumoMTA's does;"
        " without it any proxy will do, and connects from its own.",
        default=None,
        validator=address,
    )
    socks5_proxy_username: str | None = option("Who we are to the proxy.", default=None)
    socks5_proxy_password: KeySource | None = option("The password to it.", default=None, secret=True)
    ttl: Duration = option("How long the answer is kept.", default=Duration(60.0))


@options
class PathConfig:
    """How to talk to one site from one source."""

    additional_connection_limits: Mapping[str, Limit] = option("Further named connection limits.", factory=dict)
    additional_message_rate_throttles: Mapping[str, Throttle] = option("Further named message rates.", factory=dict)
    additional_source_selection_rates: Mapping[str, Throttle] = option("Further named selection rates.", factory=dict)
    allow_smtp_auth_plain_without_tls: bool = option("Send the password in clear text.", default=False)
    allow_smtp_auth_plain_without_valid_certificate: bool = option(
        "Send the password to a peer whose certificate does not verify.", default=False
    )
    auth_timeout: Duration = option("Wait for the replies to AUTH.", default=Duration(60.0))
    banner_timeout: Duration = option("Wait for the banner.", default=Duration(60.0))
    connect_timeout: Duration = option("Wait for the TCP connection.", default=Duration(60.0))
    connection_limit: Limit = option("Connections at once.", default=Limit(32), unit="connections")
    consecutive_connection_failures_before_delay: int = option(
        "After so many failures in a row the whole ready queue is put back.", default=100
    )
    data_dot_timeout: Duration = option("Wait for the reply to the end of data.", default=Duration(300.0))
    data_timeout: Duration = option("Wait for the reply to DATA.", default=Duration(300.0))
    dispatcher_progress_watchdog_timeout: Duration | None = option(
        "A session without progress for so long is ended; none: derived from the timeouts.", default=None
    )
    ehlo_domain: str | None = option("Name in EHLO; before the source's.", default=None)
    ehlo_timeout: Duration = option("Wait for the reply to EHLO.", default=Duration(300.0))
    enable_dane: bool = option("Check TLSA records.", default=False, no_effect="DANE is not built in yet")
    enable_mta_sts: bool = option("Obey MTA-STS policies.", default=True, no_effect="MTA-STS is not built in yet")
    enable_pipelining: bool = option("Use PIPELINING when offered.", default=True)
    enable_rset: bool = option("Send RSET between messages.", default=True)
    enable_tls: EnableTls = option("How much TLS is wanted.", default="Opportunistic")
    idle_timeout: Duration = option("Keep an idle connection so long.", default=Duration(5.0))
    ignore_8bit_checks: bool = option("Send 8-bit content and addresses to peers that do not offer it.", default=False)
    ip_lookup_strategy: IpLookupStrategy = option("Which address families to use.", default="Ipv4AndIpv6")
    mail_from_timeout: Duration = option("Wait for the reply to MAIL.", default=Duration(300.0))
    max_connection_rate: Throttle | None = option("Rate of new connections.", default=None)
    max_deliveries_per_connection: int = option(
        "Messages before a connection is closed.", default=1024, unit="messages"
    )
    max_message_rate: Throttle | None = option("Rate of messages.", default=None)
    max_ready: int = option("Size of the ready queue.", default=1024, unit="messages")
    max_recipients_per_batch: int = option("Recipients in one transaction.", default=100)
    opportunistic_tls_reconnect_on_failed_handshake: bool = option(
        "After a failed handshake connect again in clear text.", default=False
    )
    prohibited_hosts: Cidrs = option(
        "Addresses never connected to.", default=Cidrs.parse("127.0.0.0/8", "::1", "0.0.0.0", "::")
    )
    provider_name: str | None = option("Provider label in metrics.", default=None)
    rcpt_to_timeout: Duration = option("Wait for the reply to RCPT.", default=Duration(300.0))
    reconnect_strategy: ReconnectStrategy = option("What to do when a session breaks.", default="ConnectNextHost")
    refresh_interval: Duration = option("How often the path is asked for again.", default=Duration(60.0))
    refresh_strategy: RefreshStrategy = option("`Ttl` or `Epoch`.", default="Ttl")
    remember_broken_tls: Duration | None = option("Remember a failed handshake and use clear text.", default=None)
    rset_timeout: Duration = option("Wait for the reply to RSET.", default=Duration(5.0))
    skip_hosts: Cidrs = option("Addresses left out of the plan.", default=Cidrs())
    smtp_auth_plain_password: KeySource | None = option("Password for AUTH PLAIN.", default=None, secret=True)
    smtp_auth_plain_username: str | None = option("User for AUTH PLAIN.", default=None)
    smtp_port: int = option("Port to connect to.", default=25)
    source_selection_rate: Throttle | None = option("Rate at which this source may be chosen.", default=None)
    starttls_timeout: Duration = option("Wait for the reply to STARTTLS.", default=Duration(5.0))
    system_shutdown_timeout: Duration | None = option(
        "Bound on finishing a transaction at shutdown; none: the sum of its timeouts.", default=None
    )
    tls_certificate: KeySource | None = option("Client certificate, PEM.", default=None)
    tls_private_key: KeySource | None = option("Client key, PEM.", default=None, secret=True)
    try_next_host_on_transport_error: bool = option(
        "Offer the message to the next host when the connection breaks.", default=False
    )
    use_lmtp: bool = option("Speak LMTP.", default=False)
    aggressive_connection_opening: bool = option("KumoMTA tuning.", default=False, no_effect=_WAKEUP)
    dispatcher_wakeup_strategy: str = option("KumoMTA tuning.", default="Aggressive", no_effect=_WAKEUP)
    maintainer_wakeup_strategy: str = option("KumoMTA tuning.", default="Aggressive", no_effect=_WAKEUP)
    low_memory_reduction_policy: str = option("KumoMTA tuning.", default="ShrinkDataAndMeta", no_effect=_MEMORY)
    no_memory_reduction_policy: str = option("KumoMTA tuning.", default="ShrinkDataAndMeta", no_effect=_MEMORY)
    readyq_pool_name: str | None = option(
        "KumoMTA tuning.", default=None, no_effect="there are no thread pools to choose"
    )
    tls_prefer_openssl: bool = option("KumoMTA tuning.", default=False, no_effect="TLS is always OpenSSL")
    openssl_cipher_list: str | None = option("KumoMTA tuning.", default=None, no_effect=_CIPHERS)
    openssl_cipher_suites: str | None = option("KumoMTA tuning.", default=None, no_effect=_CIPHERS)
    openssl_options: str | None = option("KumoMTA tuning.", default=None, no_effect=_CIPHERS)
    rustls_cipher_suites: tuple[str, ...] = option("KumoMTA tuning.", default=(), no_effect="TLS is always OpenSSL")

"""Options of scheduled queues: what `get_queue_config` returns.

Public: `QueueConfig`, `Protocol`, `OnUnknown`, and the options of the protocols that KumoMTA has, too.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias
from typing import Protocol as Shape

from attrs import frozen

from kumotwist.config.option import Duration, option, options
from kumotwist.core.units import Throttle

RefreshStrategy: TypeAlias = Literal["Ttl", "Epoch"]
#: What to do with a message that a peer may or may not have taken.
OnUnknown: TypeAlias = Literal["Retry", "Bounce", "AssumeDelivered"]


class Protocol(Shape):
    """The options of the channel that delivers a queue's messages, an options class of the channel's own.

    Equal protocols share connections, so what is in them can be hashed.
    """

    #: The name that policies write.
    channel: ClassVar[str]


@frozen
class MxHost:
    """An `mx_list` entry with its address given: `{name=, addr="ip[:port]"}`."""

    name: str
    addr: str


@options
class SmtpProtocol:
    """Relay by ESMTP or LMTP to the mail exchangers of the domain."""

    channel: ClassVar[str] = "smtp"

    mx_list: tuple[str | MxHost, ...] = option(
        "Hosts to use in place of a DNS lookup: `host`, `host:port`, `[ip]` or `{name=, addr=}`; tried in order.",
        default=(),
    )
    treat_mx_list_as_secure: bool = option(
        "Take the names in mx_list for authenticated, as DNSSEC would.",
        default=False,
        no_effect="DANE is not built in yet",
    )


@options
class CustomLuaProtocol:
    """Delivery by Lua: the constructor event returns an object with `send` or `send_batch`."""

    channel: ClassVar[str] = "custom_lua"

    constructor: str = option("Name of the event that opens a connection.")
    batch_size: int = option("The most messages handed to one `send_batch`.", default=1, unit="messages")
    min_batch_size: int = option("Wait for this many, up to max_batch_latency.", default=1, unit="messages")
    max_batch_latency: Duration = option("How long to wait for min_batch_size.", default=Duration(0.0))


@options
class MaildirProtocol:
    """Delivery into a maildir; the path may be a template over the message's meta."""

    channel: ClassVar[str] = "maildir"

    maildir_path: str = option("The maildir; `{{ domain_part }}` and the like are filled in per message.")
    dir_mode: int | None = option("Mode of directories that are made.", default=None)
    file_mode: int | None = option("Mode of files that are made.", default=None)


@options
class NullProtocol:
    """Accept and forget."""

    channel: ClassVar[str] = "null"


@options
class GeneratorProtocol:
    """Generation of the messages that an HTTP injection with `deferred_generation` asked for; not for policies."""

    channel: ClassVar[str] = "generator"


@options
class QueueConfig:
    """How a scheduled queue retries, expires and sends."""

    protocol: Protocol = option("The channel by which its messages leave: `{ name = { ... } }`.", factory=SmtpProtocol)
    route_table: str | None = option(
        "The route table that chooses the way of each message, in place of `protocol` and `egress_pool`; a message may "
        "name another in its meta `route_table`, or a route of it in `route`.",
        default=None,
    )
    egress_pool: str | None = option("The pool whose sources it uses; none: the `unspecified` source.", default=None)
    retry_interval: Duration = option("Delay before the first retry; doubles each time.", default=Duration(1200.0))
    max_retry_interval: Duration | None = option("Upper bound of the doubling; none: no bound.", default=None)
    max_age: Duration = option("A message that would be older at its next attempt expires.", default=Duration(604800.0))
    max_message_rate: Throttle | None = option("Rate at which messages leave this queue.", default=None)
    provider_name: str | None = option("Provider label in metrics.", default=None)
    reap_interval: Duration = option("An empty queue idle for so long is removed.", default=Duration(600.0))
    refresh_interval: Duration = option("How often get_queue_config is asked again.", default=Duration(60.0))
    refresh_strategy: RefreshStrategy = option(
        "`Ttl`: by refresh_interval; `Epoch`: when the policy changes.", default="Ttl"
    )
    strategy: str = option(
        "KumoMTA's choice of data structure.", default="SingletonTimerWheelV2", no_effect="there is one timer wheel"
    )
    timerwheel_tick_interval: Duration | None = option(
        "KumoMTA's wheel grain.", default=None, no_effect="the wheel ticks once a second"
    )
    shrink_policy: tuple[object, ...] = option(
        "KumoMTA's memory policy.", default=(), no_effect="a waiting message always lives in the spool only"
    )

"""The functions of `kumo` itself that no other library has: declaring, deciding, making messages, logging.

`CoreLibrary` is what a policy meets first: `kumo.define_spool`,
`kumo.make_queue_config`, `kumo.reject`. `kumo.on` is Lua (events.lua).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from attrs import frozen
from twisted.logger import Logger

from kumotwist.config.bounces import BounceClassifierConfig, BounceRule, parse_rules
from kumotwist.config.egress import PathConfig, PoolConfig, SourceConfig
from kumotwist.config.listener import HttpListenerConfig, ListenerDomain, SmtpListenerConfig, TraceHeaders
from kumotwist.config.queue import QueueConfig
from kumotwist.config.receipts import ReceiptsConfig
from kumotwist.config.records import LocalLogConfig, LogHookConfig
from kumotwist.config.redis import RedisOptions
from kumotwist.config.routes import RouteTableConfig
from kumotwist.config.spool import SpoolConfig
from kumotwist.config.structure import structure
from kumotwist.core.errors import Rejection
from kumotwist.core.ids import IdGenerator
from kumotwist.core.interfaces import Injector, MessageStore
from kumotwist.core.message import Message
from kumotwist.egress.protocols import queue_config, route_table
from kumotwist.egress.sms.smpp.options import SmppProtocol
from kumotwist.lua.address import address, addresses
from kumotwist.lua.binding import Function, binary, facade_of, integer, mapping, octets, sequence, text
from kumotwist.lua.convert import json_value
from kumotwist.lua.declare import Declarations, TaskDeclaration
from kumotwist.lua.engine import EXTRAS
from kumotwist.lua.lib.regexsyntax import translate
from kumotwist.net.clock import Clock
from kumotwist.proto.mime.trace import supplemental
from kumotwist.records.classify import Classifier

#: What `kumo.log_*` writes to: the name by which a filter finds a policy's own lines.
policy_log: Final = Logger(namespace="lua")

T = TypeVar("T")

#: SMTP reply codes, RFC 5321 s4.2.1; KumoMTA takes 2xx and 3xx here as well, as permanent failures.
_FIRST_CODE: Final = 200
_LAST_CODE: Final = 599

#: The rules that KumoMTA's packages bring.
KUMOMTA_RULES: Final = "/opt/kumomta/share/bounce_classifier/iana.toml"

#: KumoMTA's tuning functions that have nothing to tune here.
NO_EFFECT: Final = (
    "set_httpinject_threads",
    "set_logging_threads",
    "set_lruttl_cache_capacity",
    "set_lua_gc_on_put",
    "set_max_lua_context_age",
    "set_max_lua_context_use_count",
    "set_max_spare_lua_contexts",
    "set_memory_hard_limit",
    "set_memory_low_thresh",
    "set_memory_soft_limit",
    "set_qmaint_threads",
    "set_ready_qmaint_threads",
    "set_readyq_threads",
    "set_smtpsrv_threads",
    "set_spoolin_threads",
    "set_timeq_spawn_reinsertion",
    "spawn_thread_pool",
)


@frozen(kw_only=True)
class CoreServices:
    """What the functions act on. `injector` is asked for only when a message is injected."""

    store: MessageStore
    injector: Callable[[], Injector]
    ids: IdGenerator
    clock: Clock
    bump_epoch: Callable[[], object]
    set_log_filter: Callable[[str], object]
    clean: Callable[[str], str]


class CoreLibrary:
    """The functions; `declarations` collects, `spawn` starts a task at once when the daemon already runs."""

    namespace = ""

    def __init__(
        self, services: CoreServices, declarations: Declarations, spawn: Callable[[TaskDeclaration], object]
    ) -> None:
        self._services = services
        self._declared = declarations
        self._spawn = spawn

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        names = [
            name for name in vars(type(self)) if not name.startswith("_") and name not in ("functions", "namespace")
        ]
        return {**{name: getattr(self, name) for name in names}, **dict.fromkeys(NO_EFFECT, no_effect)}

    # -- declaring ----------------------------------------------------------------------------------

    def _declare(self, cls: type[T], params: object, name: str) -> T:
        self._declared.check_open(name)
        return structure(cls, params if params is not None else {}, name)

    def define_spool(self, params: object) -> None:
        """Name a place on disk for messages: `data` and `meta`."""
        self._declared.define_spool(self._declare(SpoolConfig, params, "kumo.define_spool"))

    def start_esmtp_listener(self, params: object) -> None:
        """Take mail over SMTP."""
        self._declared.esmtp_listeners.append(self._declare(SmtpListenerConfig, params, "kumo.start_esmtp_listener"))

    def start_http_listener(self, params: object) -> None:
        """Serve the HTTP API."""
        self._declared.http_listeners.append(self._declare(HttpListenerConfig, params, "kumo.start_http_listener"))

    def start_smpp_receiver(self, params: object) -> None:
        """Stay bound to an SMSC for receipts and texts; its options are those of `protocol.smpp`."""
        self._declared.smpp_receivers.append(self._declare(SmppProtocol, params, "kumo.start_smpp_receiver"))

    def configure_local_logs(self, params: object) -> None:
        """Write log records to files."""
        self._declared.local_logs.append(self._declare(LocalLogConfig, params, "kumo.configure_local_logs"))

    def configure_log_hook(self, params: object) -> None:
        """Make log records messages of their own, for webhooks and the like."""
        self._declared.configure_log_hook(self._declare(LogHookConfig, params, "kumo.configure_log_hook"))

    def configure_bounce_classifier(self, params: object) -> None:
        """Tell in log records what kind of failure each is, by rules from files."""
        options = self._declare(BounceClassifierConfig, params, "kumo.configure_bounce_classifier")
        rules = [rule for name in options.files for rule in _rules_in(name)]
        self._declared.classify = Classifier(rules, options.cache_size, options.uncategorized_cache_size)

    def configure_receipts(self, params: object) -> None:
        """Set how long hand-overs and receipts are remembered."""
        self._declared.receipts = self._declare(ReceiptsConfig, params, "kumo.configure_receipts")

    def configure_redis_throttles(self, params: object) -> None:
        """Share rates and limits with other machines through a Redis server."""
        self._declared.configure_redis(self._declare(RedisOptions, params, "kumo.configure_redis_throttles"))

    def configure_accounting_db_path(self, path: object) -> None:
        """Count received and delivered recipients by month in this SQLite file; without it nothing is counted."""
        self._declared.accounting_db_path = text(path, "path")

    def set_config_monitor_globs(self, globs: object) -> None:
        """Watch these files for changes of the policy."""
        self._declared.check_open("kumo.set_config_monitor_globs")
        self._declared.config_monitor_globs = tuple(text(one, "a glob") for one in sequence(globs, "globs"))

    def set_diagnostic_log_filter(self, log_filter: object) -> None:
        """Choose what the diagnostic log shows, like `lua=debug`; at any time."""
        self._declared.diagnostic_log_filter = text(log_filter, "filter")
        self._services.set_log_filter(self._declared.diagnostic_log_filter)

    def spawn_task(self, params: object) -> None:
        """Run an event beside everything else: `{event_name=, args={}}`."""
        given = mapping(params, "the parameters of kumo.spawn_task")
        unknown = set(given) - {"event_name", "args"}
        if unknown:
            raise ValueError(f"kumo.spawn_task: unknown option '{min(unknown)}'")
        args = tuple(sequence(given.get("args", []), "args"))
        task = TaskDeclaration(text(given.get("event_name"), "event_name"), args)
        if self._declared.is_closed:
            self._spawn(task)
        else:
            self._declared.tasks.append(task)

    def validation_failed(self) -> None:
        """Have `kumotwist validate` fail, whatever else it finds."""
        self._declared.validation_failed = True

    # -- making configuration -----------------------------------------------------------------------

    def make_queue_config(self, params: object) -> QueueConfig:
        """Options of a scheduled queue."""
        return queue_config(params, "kumo.make_queue_config")

    def make_route_table(self, params: object) -> RouteTableConfig:
        """Several ways for the same messages, and how they are shared out."""
        return route_table(params, "kumo.make_route_table")

    def make_egress_pool(self, params: object) -> PoolConfig:
        """A weighted set of sources."""
        return structure(PoolConfig, params, "kumo.make_egress_pool")

    def make_egress_source(self, params: object) -> SourceConfig:
        """An address and identity to send from."""
        return structure(SourceConfig, params, "kumo.make_egress_source")

    def make_egress_path(self, params: object) -> PathConfig:
        """How to talk to one site from one source."""
        return structure(PathConfig, params, "kumo.make_egress_path")

    def make_listener_domain(self, params: object) -> ListenerDomain:
        """What we do for a domain that appears in MAIL or RCPT."""
        return structure(ListenerDomain, params, "kumo.make_listener_domain")

    # -- deciding -----------------------------------------------------------------------------------

    def reject(self, code: object, message: object) -> None:
        """Refuse with an SMTP code and text; 421 ends the connection as well."""
        number = _code(code)
        raise Rejection(number, text(message, "message"), disconnect=number == 421)

    def disconnect(self, code: object, message: object, mode: object = "ForceDisconnect") -> None:
        """Refuse and end the connection: `ForceDisconnect`, `FollowWith421` or `If421`."""
        if mode not in ("ForceDisconnect", "FollowWith421", "If421"):
            raise ValueError(f"mode must be ForceDisconnect, FollowWith421 or If421, got {mode!r}")
        number = _code(code)
        ends = mode != "If421" or number == 421
        raise Rejection(number, text(message, "message"), ends, mode == "FollowWith421")

    # -- messages -----------------------------------------------------------------------------------

    @binary
    def make_message(self, sender: object, recipient: object, body: object) -> Message:
        """A message of the policy's own, in memory until it is injected or saved."""
        return Message(
            self._services.ids(),
            address(_decoded(sender), "sender"),
            addresses(_decoded(recipient), "recipient"),
            {},
            octets(body, "body"),
            self._services.clock.seconds(),
        )

    async def inject_message(self, message: object, _deferred_spool: object = None) -> None:
        """Make a message durable and queue it."""
        if not isinstance(message, Message):
            raise ValueError("kumo.inject_message needs a message")
        message.check_may_change()
        await self._services.injector().inject(message)

    async def apply_supplemental_trace_header(self, message: object, params: object = None) -> None:
        """Add the header that names the recipient and chosen metadata."""
        if not isinstance(message, Message):
            raise ValueError("kumo.apply_supplemental_trace_header needs a message")
        trace = structure(TraceHeaders, params or {}, "kumo.apply_supplemental_trace_header")
        body = message.body if message.body is not None else await self._services.store.load_body(message)
        message.set_body(supplemental(trace, [str(one) for one in message.recipients], message.meta) + body)

    # -- the rest -----------------------------------------------------------------------------------

    def available_parallelism(self) -> int:
        """How many CPUs this process may use."""
        return len(os.sched_getaffinity(0))

    def bump_config_epoch(self) -> None:
        """Read the policy and everything that hangs on it anew."""
        self._services.bump_epoch()

    def log_error(self, *args: object) -> None:
        """Write a line to the diagnostic log."""
        policy_log.error("{text}", text=self._services.clean(_line(args)))

    def log_warn(self, *args: object) -> None:
        """Write a line to the diagnostic log."""
        policy_log.warn("{text}", text=self._services.clean(_line(args)))

    def log_info(self, *args: object) -> None:
        """Write a line to the diagnostic log."""
        policy_log.info("{text}", text=self._services.clean(_line(args)))

    def log_debug(self, *args: object) -> None:
        """Write a line to the diagnostic log."""
        policy_log.debug("{text}", text=self._services.clean(_line(args)))


def no_effect(*_: object) -> None:
    """Accepted for KumoMTA's sake; there is nothing to tune here."""


def _code(value: object) -> int:
    number = integer(value, "code")
    if not _FIRST_CODE <= number <= _LAST_CODE:
        raise ValueError(f"{number} is no SMTP reply code")
    return number


def _decoded(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode()
    return [_decoded(one) for one in value] if isinstance(value, list) else value


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, dict)):
        try:
            return msgspec.json.encode(json_value(value, "a table")).decode()
        except ValueError:
            return "table"
    spec = facade_of(type(value))
    return spec.type_name if spec else str(value) if isinstance(value, (int, float)) else type(value).__name__.lower()


def _line(args: tuple[object, ...]) -> str:
    return " ".join(_shown(one) for one in args)


def _rules_in(name: str) -> list[BounceRule]:
    """The rules of a file; of KumoMTA's own, ours where KumoMTA is not installed. Raises ConfigError, OSError."""
    path = Path(name)
    if name == KUMOMTA_RULES and not path.exists():
        path = EXTRAS / "bounce_classifier" / path.name
    rules = parse_rules(path.read_text(), name)
    return [BounceRule(rule.label, translate(rule.pattern)) for rule in rules]

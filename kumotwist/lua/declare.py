"""What a policy asks for at start: spools, listeners, logs, hooks, tasks.

`kumo.define_spool`, `kumo.start_esmtp_listener` and their like only declare;
the worker acts on it when `init` has ended. So validating a policy opens no
port and makes no file. Public: `Declarations`, `TaskDeclaration`.
"""

from __future__ import annotations

from attrs import define, field, frozen

from kumotwist.config.listener import HttpListenerConfig, SmtpListenerConfig
from kumotwist.config.receipts import ReceiptsConfig
from kumotwist.config.records import LocalLogConfig, LogHookConfig
from kumotwist.config.redis import RedisOptions
from kumotwist.config.spool import SpoolConfig
from kumotwist.core.errors import ConfigError
from kumotwist.egress.sms.smpp.options import SmppProtocol
from kumotwist.records.classify import Classify, uncategorized


@frozen
class TaskDeclaration:
    """`kumo.spawn_task`: the event to run beside everything else, and its arguments."""

    event_name: str
    args: tuple[object, ...] = ()


@define(eq=False)
class Declarations:
    """Filled during load, `pre_init` and `init`; closed afterwards."""

    spools: dict[str, SpoolConfig] = field(factory=dict)
    esmtp_listeners: list[SmtpListenerConfig] = field(factory=list)
    http_listeners: list[HttpListenerConfig] = field(factory=list)
    smpp_receivers: list[SmppProtocol] = field(factory=list)
    local_logs: list[LocalLogConfig] = field(factory=list)
    log_hooks: list[LogHookConfig] = field(factory=list)
    classify: Classify = uncategorized
    tasks: list[TaskDeclaration] = field(factory=list)
    receipts: ReceiptsConfig = field(factory=ReceiptsConfig)
    redis: RedisOptions | None = None
    config_monitor_globs: tuple[str, ...] | None = None
    diagnostic_log_filter: str | None = None
    accounting_db_path: str | None = None
    validation_failed: bool = False
    is_closed: bool = False

    def check_open(self, what: str) -> None:
        """Raise ConfigError when it is too late."""
        if self.is_closed:
            raise ConfigError(f"{what} can be called only while the daemon starts: in init, pre_init or at top level")

    def define_spool(self, config: SpoolConfig) -> None:
        """Take a spool. Raises ConfigError when there is one of that name."""
        if config.name in self.spools:
            raise ConfigError(f"kumo.define_spool: there are two spools called '{config.name}'")
        self.spools[config.name] = config

    def configure_redis(self, config: RedisOptions) -> None:
        """Take the server that limits are shared through. Raises ConfigError when there is one."""
        if self.redis is not None:
            raise ConfigError("kumo.configure_redis_throttles: redis already configured for throttles")
        self.redis = config

    def configure_log_hook(self, config: LogHookConfig) -> None:
        """Take a log hook. Raises ConfigError when there is one of that name."""
        if any(hook.name == config.name for hook in self.log_hooks):
            raise ConfigError(f"kumo.configure_log_hook: there are two hooks called '{config.name}'")
        self.log_hooks.append(config)

"""The accounting log: who proved to be whom, and who was allowed what.

JSON lines in segments of their own, `acct-YYYYMMDD-HHMMSS...`, as KumoMTA
writes them for `kumo.aaa.configure_acct_log`. No secret is ever part of one.

Public: `open_acct_log`, `AcctLog`, `NO_ACCT_LOG` (both `Auditor`s of
`core.interfaces`). What can go wrong: ConfigError at the start, for a second
log or a directory that cannot be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from attrs import define, field

from kumotwist.config.acl import AccessDecision
from kumotwist.config.records import AcctLogConfig
from kumotwist.core.connection import AuthInfo, Identity
from kumotwist.core.errors import ConfigError
from kumotwist.core.json import JsonObject
from kumotwist.core.schedule import format_rfc3339
from kumotwist.core.stats import Sample
from kumotwist.net.threads import ReactorClock
from kumotwist.records.blocks import BlockWriter, Key
from kumotwist.records.segments import SegmentOptions, SegmentWriter


@define(eq=False)
class AcctLog:
    """The `configure_acct_log` call. Raises ConfigError when its directory cannot be used."""

    config: AcctLogConfig
    _reactor: ReactorClock
    _key: Key = field(init=False)
    _lines: BlockWriter = field(init=False)

    def __attrs_post_init__(self) -> None:
        config = self.config
        self._key = (config.log_dir, "")
        options = SegmentOptions(
            max_size=config.max_file_size,
            prefix="acct-",
            duration=config.max_segment_duration,
            level=config.compression_level,
        )
        writers = {self._key: SegmentWriter(Path(config.log_dir), "", options)}
        self._lines = BlockWriter(f"acct-{config.log_dir}", config.back_pressure, writers, self._reactor)

    async def authentication(self, attempted: Identity, success: bool, auth: AuthInfo) -> None:
        """Note an attempt to prove an identity."""
        if self.config.log_authn_ok if success else self.config.log_authn_fail:
            identity: JsonObject = {"identity": attempted.identity, "context": attempted.context}
            await self._write("Authentication", auth, {"attempted_identity": identity, "success": success})

    async def authorization(self, decision: AccessDecision, auth: AuthInfo) -> None:
        """Note a decision about access."""
        if self.config.log_authz_allow if decision.is_allowed else self.config.log_authz_deny:
            rule = decision.rule
            shown: JsonObject = {
                "target_resource": decision.resource,
                "privilege": decision.privilege,
                "access": "Allow" if decision.is_allowed else "Deny",
                "matching_resource": decision.matching,
                "rule": rule.to_json() if rule is not None else None,
                "considered_resources": list(decision.considered),
            }
            await self._write("Authorization", auth, shown)

    async def close(self) -> None:
        """Write what waits and finish the segment."""
        await self._lines.close()

    def samples(self) -> Iterable[Sample]:
        """How many records were lost."""
        return (Sample("log_records_lost", self._lines.lost, (("logger", self._lines.name),)),)

    async def _write(self, kind: str, auth: AuthInfo, what: JsonObject) -> None:
        when = format_rfc3339(self._reactor.seconds())
        line = msgspec.json.encode({"type": kind, "timestamp": when, **what, "auth_info": auth.to_json()})
        await self._lines.add(self._key, line + b"\n")


class NoAcctLog:
    """Notes nothing."""

    async def authentication(self, attempted: Identity, success: bool, auth: AuthInfo) -> None:
        """Nothing to do."""

    async def authorization(self, decision: AccessDecision, auth: AuthInfo) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    def samples(self) -> Iterable[Sample]:
        """None."""
        return ()


#: For a policy without an accounting log.
NO_ACCT_LOG: Final = NoAcctLog()


def open_acct_log(configs: Sequence[AcctLogConfig], reactor: ReactorClock) -> AcctLog | NoAcctLog:
    """The log of a policy that made these `configure_acct_log` calls. Raises ConfigError."""
    if len(configs) > 1:
        raise ConfigError("kumo.aaa.configure_acct_log must not be called more than once")
    return AcctLog(configs[0], reactor) if configs else NO_ACCT_LOG

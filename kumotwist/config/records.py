"""Options of logs and log hooks. Public: `RecordOptions`, `LocalLogConfig`, `LogHookConfig`, `AcctLogConfig`."""

from __future__ import annotations

from collections.abc import Mapping

from kumotwist.config.option import Duration, option, options


@options
class RecordOptions:
    """What to do with one record type; the key `Any` is for the types not named."""

    enable: bool = option("Whether to log it.", default=True)
    log_dir: str | None = option("Directory of its own.", default=None)
    suffix: str | None = option("Appended to the segment's file name.", default=None)
    template: str | None = option("A template in place of JSON; the record's fields are its variables.", default=None)
    segment_header: str | None = option("Written at the start of each segment.", default=None)


@options
class LocalLogConfig:
    """One set of local logs: zstd-compressed JSON lines in segments."""

    log_dir: str = option("Directory of the segments.")
    name: str | None = option("Name in metrics.", default=None)
    headers: tuple[str, ...] = option("Message headers to copy; a trailing * matches any rest.", default=())
    meta: tuple[str, ...] = option("Meta keys to copy; a trailing * matches any rest.", default=())
    per_record: Mapping[str, RecordOptions] = option("Settings by record type.", factory=dict)
    filter_event: str | None = option("Policy event that returns whether to log a message's record.", default=None)
    max_file_size: int = option(
        "Start a new segment after so much.", default=1_000_000_000, unit="octets, uncompressed"
    )
    max_segment_duration: Duration | None = option("Start a new segment after so long.", default=None)
    back_pressure: int = option("Records that may wait to be written.", default=128000, unit="records")
    compression_level: int = option("zstd level; 0: its default.", default=0)
    min_free_space: str = option("Refuse mail below so much free disk.", default="10%")
    min_free_inodes: str = option("Refuse mail below so many free inodes.", default="10%")


@options
class LogHookConfig:
    """One log hook: each record becomes a message of its own."""

    name: str = option("Passed to should_enqueue_log_record; unique.")
    headers: tuple[str, ...] = option("Message headers to copy.", default=())
    meta: tuple[str, ...] = option("Meta keys to copy.", default=())
    per_record: Mapping[str, RecordOptions] = option("Settings by record type.", factory=dict)
    back_pressure: int = option("Records that may wait.", default=128000, unit="records")
    deferred_spool: bool = option("Do not save the messages at once.", default=False)


@options
class AcctLogConfig:
    """The accounting log: who proved to be whom, and who was allowed what."""

    log_dir: str = option("Directory of the segments.")
    log_authn_ok: bool = option("Log authentication that succeeded.", default=True)
    log_authn_fail: bool = option("Log authentication that failed.", default=True)
    log_authz_allow: bool = option("Log access that was allowed.", default=True)
    log_authz_deny: bool = option("Log access that was denied.", default=True)
    max_file_size: int = option(
        "Start a new segment after so much.", default=1_000_000_000, unit="octets, uncompressed"
    )
    max_segment_duration: Duration | None = option("Start a new segment after so long.", default=None)
    back_pressure: int = option("Records that may wait to be written.", default=128000, unit="records")
    compression_level: int = option("zstd level; 0: its default.", default=0)
    min_free_space: str = option("Refuse mail below so much free disk.", default="10%")
    min_free_inodes: str = option("Refuse mail below so many free inodes.", default="10%")

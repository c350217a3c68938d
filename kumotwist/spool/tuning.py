"""RocksDB's settings for a spool, and how a database is opened with them.

Most messages live for less than a second: written, delivered, deleted. With
write buffers that hold a few seconds of mail their bodies are dropped before
they ever reach a table file, so the cost is the write-ahead log alone. What
stays longer goes to blob files, which compaction does not copy around.

Public: `Memory`, `Tables`, `open_tables`. What can go wrong: a log that was
damaged in the middle. Its files are copied aside, named in the diagnostic
log, and everything that can still be read is kept.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from attrs import Factory, frozen
from rocksdict import (
    BlockBasedOptions,
    Cache,
    ColumnFamily,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    WriteBufferManager,
)
from twisted.logger import Logger

log: Final = Logger()

_MIB: Final = 1024 * 1024
#: Write buffers of all databases of a process together, before RocksDB flushes; with the one
#: that is being flushed and the block cache this keeps a worker's spool within 128 MiB.
_WRITE_BUFFERS: Final = 80 * _MIB
_BLOCK_CACHE: Final = 16 * _MIB
#: One buffer of bodies: about half a second of mail at 700 messages/s of 100 KiB.
_BODY_BUFFER: Final = 40 * _MIB
_RECORD_BUFFER: Final = 16 * _MIB
#: Log to replay after a crash, at most; a second or two.
_LOG_SIZE: Final = 192 * _MIB
#: Bodies from here on go to blob files: RocksDB's own advice is 1 KiB to 4 KiB upwards.
_BLOB_SIZE: Final = 4096
#: RocksDB keeps its table files open; a spool is small, so this bounds descriptors only.
_OPEN_FILES: Final = 256


@frozen
class Memory:
    """The memory that all databases of a process share."""

    buffers: WriteBufferManager = Factory(lambda: WriteBufferManager(_WRITE_BUFFERS, False))
    cache: Cache = Factory(lambda: Cache(_BLOCK_CACHE))


@frozen(eq=False)
class Tables:
    """An open database and its column families; `records` is the default one."""

    records: Rdict
    bodies: Rdict
    pieces: Rdict
    large: Rdict
    bodies_handle: ColumnFamily
    pieces_handle: ColumnFamily
    large_handle: ColumnFamily

    @classmethod
    def of(cls, records: Rdict) -> Tables:
        """The column families of an open database."""
        table, handle = records.get_column_family, records.get_column_family_handle
        return cls(
            records, table("body"), table("pieces"), table("large"), handle("body"), handle("pieces"), handle("large")
        )

    @property
    def all(self) -> tuple[Rdict, ...]:
        """Every column family, the default one last."""
        return (self.bodies, self.pieces, self.large, self.records)

    def close(self) -> None:
        """Let go of the files. A disk that fails is named in the log; nothing acknowledged depends on it."""
        for table in self.all:
            try:
                table.close()
            except Exception as error:  # rocksdict raises bare Exceptions
                log.error("closing a spool database: {error}", error=str(error))


def open_tables(path: Path, memory: Memory) -> Tables:
    """Open or create the database in `path` and replay its log. RocksDB's errors come as they are."""
    try:
        return Tables.of(_open(path, memory, DBRecoveryMode.tolerate_corrupted_tail_records()))
    except Exception as error:
        if not str(error).startswith("Corruption"):
            raise
        kept = _copy_logs(path)
        log.critical(
            "the log of spool {path} is damaged ({error}); it was copied to {kept} and all that can be read is kept",
            path=str(path),
            error=str(error),
            kept=str(kept),
        )
        return Tables.of(_open(path, memory, DBRecoveryMode.skip_any_corrupted_record()))


def _open(path: Path, memory: Memory, recovery: DBRecoveryMode) -> Rdict:
    options = _records(memory)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_wal_recovery_mode(recovery)
    options.set_write_buffer_manager(memory.buffers)
    options.set_max_total_wal_size(_LOG_SIZE)
    options.set_max_open_files(_OPEN_FILES)
    options.set_max_background_jobs(2)
    # Three full buffers may wait to be flushed before writers must.
    options.set_max_write_buffer_number(4)
    # RocksDB's own log cannot be switched off through rocksdict: keep it small.
    options.set_max_log_file_size(_MIB)
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    families = {"body": _bodies(memory), "pieces": _bodies(memory), "large": _records(memory)}
    return Rdict(str(path), options, families)


def _records(memory: Memory) -> Options:
    options = Options(raw_mode=True)
    options.set_write_buffer_size(_RECORD_BUFFER)
    options.set_compression_type(DBCompressionType.lz4())
    table = BlockBasedOptions()
    table.set_block_cache(memory.cache)
    # 10 bits a key: 1 % false positives, RocksDB's default advice.
    table.set_bloom_filter(10, False)
    table.set_cache_index_and_filter_blocks(True)
    options.set_block_based_table_factory(table)
    # Nearly every key is deleted soon: compact where half of 1,024 neighbours are tombstones.
    options.add_compact_on_deletion_collector_factory(1024, 512, 0.5)
    return options


def _bodies(memory: Memory) -> Options:
    options = _records(memory)
    options.set_write_buffer_size(_BODY_BUFFER)
    options.set_enable_blob_files(True)
    options.set_min_blob_size(_BLOB_SIZE)
    options.set_blob_file_size(64 * _MIB)
    options.set_blob_compression_type(DBCompressionType.lz4())
    options.set_enable_blob_gc(True)
    return options


def _copy_logs(path: Path) -> Path:
    kept = path / "damaged"
    number = 0
    while kept.exists():
        number += 1
        kept = path / f"damaged.{number}"
    kept.mkdir()
    for file in path.glob("*.log"):
        shutil.copy2(file, kept)
    return kept

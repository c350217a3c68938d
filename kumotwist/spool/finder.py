"""The finder: reads messages out of the shards, whichever they are in.

What cannot be read is set aside for the operator, so that it is met once.

Public: `Finder`. What can go wrong: SpoolCorrupt for a body that is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from kumotwist.core.errors import SpoolCorrupt
from kumotwist.core.ids import SpoolId
from kumotwist.core.message import Message
from kumotwist.spool import codec
from kumotwist.spool.database import Database
from kumotwist.spool.quarantine import set_aside

#: Messages read at once in `read_batch`, between two turns of the reactor: about 2 ms of work.
_BATCH: Final = 256


@frozen
class Finder:
    """Looks through `databases`, of which the first takes new messages."""

    directory: Path
    databases: Sequence[Database]
    #: Hears of what has been set aside, and may go.
    spoiled: Callable[[Database, SpoolId], object]

    def database_of(self, message: Message) -> Database:
        """Where the message is if it is anywhere, else the first."""
        first, *others = self.databases
        for database in others:
            if database.may_have(message.id) and database.record(message.id) is not None:
                return database
        return first

    def load(self, spool_id: SpoolId) -> Message | None:
        """The message with its body; None when there is none, or it cannot be read."""
        for database in self.databases:
            record = database.record(spool_id)
            if record is not None:
                message = self._decode(database, spool_id, record)
                if message is not None:
                    message.body = database.body(spool_id)
                    if message.body is None:
                        self._set_aside(database, spool_id, record, "its body is missing")
                        return None
                return message
        return None

    def body(self, spool_id: SpoolId) -> bytes:
        """The body. Raises SpoolCorrupt when it is gone."""
        for database in self.databases:
            body = database.body(spool_id)
            if body is not None:
                return body
        raise SpoolCorrupt(f"message {spool_id.hex()} has no body in the spool")

    def read_batch(self, database: Database, records: Iterator[tuple[bytes, bytes]]) -> list[Message]:
        """The next messages of `records`, without bodies; empty only at the end."""
        batch: list[Message] = []
        for spool_id, record in records:
            message = self._decode(database, spool_id, record)
            if message is not None:
                batch.append(message)
                if len(batch) == _BATCH:
                    break
        return batch

    def _decode(self, database: Database, spool_id: bytes, record: bytes) -> Message | None:
        try:
            if len(spool_id) != 16:
                raise SpoolCorrupt("its key is no message id")
            return codec.decode(SpoolId(spool_id), record)
        except SpoolCorrupt as error:
            self._set_aside(database, spool_id, record, str(error))
            return None

    def _set_aside(self, database: Database, spool_id: bytes, record: bytes, why: str) -> None:
        key = SpoolId(spool_id)
        if set_aside(self.directory, key, record, database.body(key), why) is not None:
            self.spoiled(database, key)

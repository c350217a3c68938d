"""The message store in memory: the published double of `spool.rocks`.

Keeps what the real one keeps, encoded as the real one encodes it, so a test
on it meets the same aliasing and the same errors. Everything is "on disk" at
once. `restarted` gives the store that a new process would find.

Public: `MemoryStore`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

from attrs import define, field

from kumotwist.core.errors import SpoolCorrupt, SpoolFull, SpoolUnhealthy
from kumotwist.core.ids import SpoolId
from kumotwist.core.message import Message
from kumotwist.core.stats import Histogram, Sample
from kumotwist.spool import codec

#: Messages in one batch of `enumerate`, as in the real store.
_BATCH: Final = 256


@define(eq=False)
class MemoryStore:
    """Messages by id. Set `fails` to make every write fail from now on, as a broken disk would."""

    _records: dict[SpoolId, bytes] = field(factory=dict)
    _bodies: dict[SpoolId, bytes] = field(factory=dict)
    _at_start: list[SpoolId] = field(init=False)
    _failure: SpoolFull | SpoolUnhealthy | None = field(default=None, init=False)
    _latency: Histogram = field(factory=Histogram, init=False)

    def __attrs_post_init__(self) -> None:
        self._at_start = list(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, spool_id: object) -> bool:
        return spool_id in self._records

    @property
    def is_healthy(self) -> bool:
        """False after `break_down`."""
        return self._failure is None

    def break_down(self, failure: SpoolFull | SpoolUnhealthy | None = None) -> None:
        """Behave as after a failed sync."""
        self._failure = failure or SpoolUnhealthy("the spool is not accepting writes")

    def restarted(self) -> MemoryStore:
        """A store with the same messages, as a new process would find them."""
        return MemoryStore(dict(self._records), dict(self._bodies))

    async def save(self, messages: Sequence[Message]) -> None:
        """Keep what is dirty of all `messages`."""
        if self._failure is not None:
            raise self._failure
        records = [(message, codec.encode(message)) for message in messages if not message.is_spooled]
        for message, record in records:
            self._keep(message, record)
            self._latency.observe(0.0)

    def set_aside(self, _message: Message, _why: str) -> str | None:
        """There is no place for files."""
        return None

    async def save_meta_later(self, message: Message) -> None:
        """Keep the envelope and state at once."""
        if self._failure is None:
            self._keep(message, codec.encode(message))

    def _keep(self, message: Message, record: bytes) -> None:
        if message.is_body_dirty:
            if message.body is None:
                raise ValueError(f"message {message.id.hex()} has no body to save")
            self._bodies[message.id] = message.body
        self._records[message.id] = record
        message.is_meta_dirty = message.is_body_dirty = False

    def remove(self, spool_id: SpoolId) -> None:
        """Forget a message."""
        if self._failure is None:
            self._records.pop(spool_id, None)
            self._bodies.pop(spool_id, None)

    async def load(self, spool_ids: Sequence[SpoolId]) -> Sequence[Message | None]:
        """The messages with their bodies, None where there is none."""
        return [self._load(spool_id) for spool_id in spool_ids]

    def _load(self, spool_id: SpoolId) -> Message | None:
        record, body = self._records.get(spool_id), self._bodies.get(spool_id)
        if record is None or body is None:
            return None
        message = codec.decode(spool_id, record)
        message.body = body
        return message

    async def load_body(self, message: Message) -> bytes:
        """The body, also put back into `message`. Raises SpoolCorrupt when it is gone."""
        body = self._bodies.get(message.id)
        if body is None:
            raise SpoolCorrupt(f"message {message.id.hex()} has no body in the spool")
        message.body = body
        return body

    async def enumerate(self) -> AsyncIterator[Sequence[Message]]:
        """All messages that were there when this store was made, in batches, without bodies."""
        ids = self._at_start
        for begin in range(0, len(ids), _BATCH):
            batch = [self._records_of(spool_id) for spool_id in ids[begin : begin + _BATCH]]
            yield [message for message in batch if message is not None]

    def _records_of(self, spool_id: SpoolId) -> Message | None:
        record = self._records.get(spool_id)
        return codec.decode(spool_id, record) if record is not None else None

    async def close(self) -> None:
        """Nothing to let go of."""

    def samples(self) -> Iterable[Sample]:
        """The same numbers as the real store's."""
        return (Sample("message_save_latency", self._latency),)

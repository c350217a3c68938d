"""The store before it is open: policy is made first, because it says where the spool is.

Public: `LateStore`, a `MessageStore` that is another one as soon as there is
one. Until then it is unhealthy and refuses with SpoolUnhealthy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from attrs import define

from kumotwist.core.errors import SpoolUnhealthy
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import MessageStore
from kumotwist.core.message import Message


@define(eq=False)
class LateStore:
    """Passes everything on to `find()`, which gives None while there is nothing."""

    find: Callable[[], MessageStore | None]

    def _store(self) -> MessageStore:
        store = self.find()
        if store is None:
            raise SpoolUnhealthy("the spool is not open yet")
        return store

    @property
    def is_healthy(self) -> bool:
        """False while there is no store."""
        store = self.find()
        return store is not None and store.is_healthy

    async def save(self, messages: Sequence[Message]) -> None:
        """See `MessageStore`."""
        await self._store().save(messages)

    async def save_meta_later(self, message: Message) -> None:
        """See `MessageStore`."""
        await self._store().save_meta_later(message)

    def remove(self, spool_id: SpoolId) -> None:
        """See `MessageStore`."""
        self._store().remove(spool_id)

    def set_aside(self, message: Message, why: str) -> str | None:
        """See `MessageStore`."""
        return self._store().set_aside(message, why)

    async def load(self, spool_ids: Sequence[SpoolId]) -> Sequence[Message | None]:
        """See `MessageStore`."""
        return await self._store().load(spool_ids)

    async def load_body(self, message: Message) -> bytes:
        """See `MessageStore`."""
        return await self._store().load_body(message)

    def enumerate(self) -> AsyncIterator[Sequence[Message]]:
        """See `MessageStore`."""
        return self._store().enumerate()

    async def close(self) -> None:
        """Whoever opened the store closes it."""

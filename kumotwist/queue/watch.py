"""What receipts have said, in memory: the published double of `records.receipts.awaited`.

It stands where there is no ledger: no receipt comes unless somebody tells it.

Public: `MemoryWatch` (a `ReceiptWatch` of `core.interfaces`). Nothing can go wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from kumotwist.core.ids import SpoolId
from kumotwist.core.receipt import Heard, ReceiptState


@define(eq=False)
class MemoryWatch:
    """Expected messages, and what was told of any message."""

    expected: set[SpoolId] = field(factory=set, init=False)
    _heard: dict[SpoolId, list[Heard]] = field(factory=dict, init=False)
    _news: set[SpoolId] = field(factory=set, init=False)

    def tell(self, spool_id: SpoolId, state: ReceiptState, table: str | None = None, noted: float = 0.0) -> None:
        """A receipt came in."""
        self._heard.setdefault(spool_id, []).append(Heard(table, state, noted))
        self._news.add(spool_id)

    def expect(self, spool_id: SpoolId) -> None:
        """See `ReceiptWatch`."""
        self.expected.add(spool_id)
        if spool_id in self._heard:
            self._news.add(spool_id)

    def forget(self, spool_id: SpoolId) -> None:
        """See `ReceiptWatch`."""
        self.expected.discard(spool_id)

    async def news(self) -> Sequence[SpoolId]:
        """See `ReceiptWatch`."""
        news = self._news & self.expected
        self._news -= news
        return sorted(news)

    async def heard(self, spool_id: SpoolId) -> Sequence[Heard]:
        """See `ReceiptWatch`."""
        return tuple(self._heard.get(spool_id, ()))

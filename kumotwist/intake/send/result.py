"""What the send API answers: recipient by recipient, in the order of the request.

Public: `SendResult`, `SentRecipient`, `Told`, `INTERRUPTED`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import frozen
from msgspec import Struct

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.ids import SpoolId
from kumotwist.intake.http.batch import told
from kumotwist.intake.send.request import Address

#: Told of a recipient that had no message in the spool when the daemon came back.
INTERRUPTED: Final = "not taken: the daemon was stopped before; send it anew under another key"


class SentRecipient(Struct):
    """What became of one recipient: the id of its message, or an error.

    `to` is the recipient as logs name it; as given when it could not be read.
    """

    to: str
    id: str | None = None
    error: str | None = None


class SendResult(Struct):
    """The reply; `recipients` in the order of the request."""

    accepted: int
    failed: int
    recipients: list[SentRecipient]


@frozen
class Told:
    """What there is to tell so far."""

    _recipients: list[SentRecipient]

    @classmethod
    def about(cls, addresses: Iterable[Address]) -> Told:
        """Nothing yet; each is named as given, but for a token or endpoint, which never shows."""
        return cls([SentRecipient(address.email or address.phone or "") for address in addresses])

    def name(self, position: int, envelope: EnvelopeAddress) -> None:
        """Say where the recipient at `position` is."""
        self._recipients[position].to = envelope.email

    def accept(self, position: int, spool_id: SpoolId) -> None:
        """It has a message."""
        self._recipients[position].id = spool_id.hex()

    def fail(self, position: int, error: BaseException) -> None:
        """It has none, for what the first line of `error` says."""
        self._recipients[position].id = None
        self._recipients[position].error = told(error)

    def result(self) -> SendResult:
        """The answer as things are."""
        accepted = sum([one.id is not None for one in self._recipients])
        return SendResult(accepted, len(self._recipients) - accepted, self._recipients)

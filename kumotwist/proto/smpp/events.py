"""What an ESME session tells its owner, in the order in which it happened.

Public: `Bound`, `Refused`, `Answer`, `Unanswered`, `Incoming`, `Unbound`, `Ended`, `Event`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from kumotwist.proto.smpp.commands import Command
from kumotwist.proto.smpp.fields import Tlv
from kumotwist.proto.smpp.messages import ShortMessage


class Bound(NamedTuple):
    """The SMSC took the bind; `system_id` is its name for itself."""

    system_id: str
    tlvs: tuple[Tlv, ...] = ()


class Refused(NamedTuple):
    """The SMSC refused the bind; the session is over."""

    status: int


class Answer(NamedTuple):
    """The response to the submit_sm of that sequence number, whichever order they come in."""

    sequence: int
    status: int
    message_id: str
    tlvs: tuple[Tlv, ...] = ()


class Unanswered(NamedTuple):
    """The submit_sm of that sequence number had no response in time; what became of it is not known."""

    sequence: int


class Incoming(NamedTuple):
    """A deliver_sm or data_sm; to be answered with `acknowledge`."""

    sequence: int
    command: Command
    message: ShortMessage


class Unbound(NamedTuple):
    """Both sides have said goodbye; nothing more will come."""


class Ended(NamedTuple):
    """The connection is of no more use; `text` says why, for people. Close it."""

    text: str


Event: TypeAlias = Bound | Refused | Answer | Unanswered | Incoming | Unbound | Ended

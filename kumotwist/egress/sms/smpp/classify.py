"""What command_status means for a message: one table, pure.

    status                      class       what happens
    0                           taken       delivered; the id is kept
    throttled, queue full       throttled   waits in place, then the source rests; uncharged
    account, bind, our state    account     the source rests; uncharged
    system error and the like   transient   tried again later
    everything else             permanent   bounced: it would fail again

0x400 to 0x4FF belong to the SMSC's vendor: transient, unless the option
`status` says otherwise. That option may overrule any other status as well.

Public: `Fault`, `classify`, `vendor_table`, `error_table`, `TABLE`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from kumotwist.egress.sms.smpp.options import StatusClass
from kumotwist.proto.smpp.commands import Status, status_number
from kumotwist.proto.smpp.words import VENDOR, status_text


class Fault(enum.Enum):
    """What an answer says about the message; the value is what the option `status` calls it."""

    TAKEN = "taken"
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    THROTTLED = "throttled"
    ACCOUNT = "account"


#: SMPP 3.4 s5.1.3, by what a sender can do about it. What is not here is permanent.
TABLE: Final[Mapping[int, Fault]] = {
    Status.ESME_ROK: Fault.TAKEN,
    Status.ESME_RTHROTTLED: Fault.THROTTLED,
    Status.ESME_RMSGQFUL: Fault.THROTTLED,
    Status.ESME_RSYSERR: Fault.TRANSIENT,
    Status.ESME_RSUBMITFAIL: Fault.TRANSIENT,
    Status.ESME_RX_T_APPN: Fault.TRANSIENT,
    Status.ESME_RDELIVERYFAILURE: Fault.TRANSIENT,
    Status.ESME_RUNKNOWNERR: Fault.TRANSIENT,
    # Not of this message: of the session, the account or our configuration.
    Status.ESME_RINVBNDSTS: Fault.ACCOUNT,
    Status.ESME_RALYBND: Fault.ACCOUNT,
    Status.ESME_RBINDFAIL: Fault.ACCOUNT,
    Status.ESME_RINVPASWD: Fault.ACCOUNT,
    Status.ESME_RINVSYSID: Fault.ACCOUNT,
    Status.ESME_RINVSYSTYP: Fault.ACCOUNT,
    Status.ESME_RINVSERTYP: Fault.ACCOUNT,
}
_FATES: Final = {
    Fault.TAKEN: "delivered; its id is kept for the receipt",
    Fault.TRANSIENT: "later, by the queue's schedule",
    Fault.PERMANENT: "bounced",
    Fault.THROTTLED: "waits in place with growing pauses, up to `throttle_patience`; then everything waits, uncharged",
    Fault.ACCOUNT: "everything waits (`rest`), nothing is charged or bounced",
}


def classify(status: int, vendor: Mapping[int, Fault]) -> Fault:
    """The class of `status`, by the operator's table, then the specification's."""
    fault = vendor.get(status) or TABLE.get(status)
    if fault is not None:
        return fault
    return Fault.TRANSIENT if status in VENDOR else Fault.PERMANENT


def vendor_table(status: Mapping[str, StatusClass]) -> Mapping[int, Fault]:
    """The option `status` by number; `0x401`, `1025` and the names of SMPP 3.4 are read."""
    return {status_number(name): Fault(word) for name, word in status.items()}


def error_table() -> str:
    """The table of a channel's page, in Markdown."""
    rows = ["| command_status | class | what happens |", "|---|---|---|"]
    rows += [f"| {_told(status)} | {fault.value} | {_FATES[fault]} |" for status, fault in TABLE.items()]
    rows += [
        f"| `0x400` to `0x4FF`, the vendor's | transient | {_FATES[Fault.TRANSIENT]} |",
        f"| any other | permanent | {_FATES[Fault.PERMANENT]} |",
        "",
    ]
    return "\n".join(rows)


def _told(status: int) -> str:
    name, _, words = status_text(status).partition(", ")
    return f"`{name}`: {words}" if words else f"`{name}`"

"""What each command_status of SMPP 3.4 says, for people (s5.1.3). Public: `status_text`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kumotwist.proto.smpp.commands import Status, status_name

_WORDS: Final[Mapping[int, str]] = {
    Status.ESME_RINVMSGLEN: "the text has a length that it does not take",
    Status.ESME_RINVCMDLEN: "a command of a length that it does not take",
    Status.ESME_RINVCMDID: "a command that it does not know",
    Status.ESME_RINVBNDSTS: "this bind may not do that",
    Status.ESME_RALYBND: "the account is bound already, as often as it may be",
    Status.ESME_RINVPRTFLG: "a priority that it does not take",
    Status.ESME_RINVREGDLVFLG: "a wish for receipts that it does not take",
    Status.ESME_RSYSERR: "an error of its own",
    Status.ESME_RINVSRCADR: "the sender is not valid",
    Status.ESME_RINVDSTADR: "the recipient's number is not valid",
    Status.ESME_RINVMSGID: "it knows no message of this id",
    Status.ESME_RBINDFAIL: "the bind failed",
    Status.ESME_RINVPASWD: "the password is wrong",
    Status.ESME_RINVSYSID: "the system_id is wrong",
    Status.ESME_RCANCELFAIL: "cancelling failed",
    Status.ESME_RREPLACEFAIL: "replacing failed",
    Status.ESME_RMSGQFUL: "its queue is full",
    Status.ESME_RINVSERTYP: "the service_type is wrong",
    Status.ESME_RINVNUMDESTS: "a number of recipients that it does not take",
    Status.ESME_RINVDLNAME: "it knows no such distribution list",
    Status.ESME_RINVDESTFLAG: "a kind of recipient that it does not take",
    Status.ESME_RINVSUBREP: "it does not replace what was submitted before",
    Status.ESME_RINVESMCLASS: "an esm_class that it does not take",
    Status.ESME_RCNTSUBDL: "it does not submit to distribution lists",
    Status.ESME_RSUBMITFAIL: "submitting failed",
    Status.ESME_RINVSRCTON: "the type of number of the sender is not valid",
    Status.ESME_RINVSRCNPI: "the numbering plan of the sender is not valid",
    Status.ESME_RINVDSTTON: "the type of number of the recipient is not valid",
    Status.ESME_RINVDSTNPI: "the numbering plan of the recipient is not valid",
    Status.ESME_RINVSYSTYP: "the system_type is wrong",
    Status.ESME_RINVREPFLAG: "a replace_if_present_flag that it does not take",
    Status.ESME_RINVNUMMSGS: "a number of messages that it does not take",
    Status.ESME_RTHROTTLED: "too many messages at once",
    Status.ESME_RINVSCHED: "a time of delivery that it does not take",
    Status.ESME_RINVEXPIRY: "a validity_period that it does not take",
    Status.ESME_RINVDFTMSGID: "it has no predefined message of this id",
    Status.ESME_RX_T_APPN: "the receiving application failed, for now",
    Status.ESME_RX_P_APPN: "the receiving application failed, for good",
    Status.ESME_RX_R_APPN: "the receiving application refused it",
    Status.ESME_RQUERYFAIL: "the query failed",
    Status.ESME_RINVOPTPARSTREAM: "the optional parameters cannot be read",
    Status.ESME_ROPTPARNOTALLWD: "an optional parameter that it does not allow",
    Status.ESME_RINVPARLEN: "an optional parameter of a wrong length",
    Status.ESME_RMISSINGOPTPARAM: "it misses an optional parameter",
    Status.ESME_RINVOPTPARAMVAL: "an optional parameter has a value that is not valid",
    Status.ESME_RDELIVERYFAILURE: "delivering failed",
    Status.ESME_RUNKNOWNERR: "an error that it has no name for",
}
#: Reserved for vendors (s5.1.3).
VENDOR: Final = range(0x400, 0x500)


def status_text(status: int) -> str:
    """`ESME_RTHROTTLED (0x58), too many messages at once`."""
    words = _WORDS.get(status)
    if words is None and status in VENDOR:
        words = "a status of the SMSC's vendor"
    return status_name(status) + (f", {words}" if words else "")

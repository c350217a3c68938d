"""Numbers of SMPP 3.4: commands, statuses and optional parameters by the names of the specification.

Public: `Command`, `RESPONSE`, `Status`, `status_name`, `status_number`, `Tag`,
`tag_number`, and the bits of `esm_class`.
"""

from __future__ import annotations

import enum
from typing import Final


class Command(enum.IntEnum):
    """Requests (SMPP 3.4 s5.1.2.1); a response has `RESPONSE` added."""

    BIND_RECEIVER = 0x01
    BIND_TRANSMITTER = 0x02
    QUERY_SM = 0x03
    SUBMIT_SM = 0x04
    DELIVER_SM = 0x05
    UNBIND = 0x06
    REPLACE_SM = 0x07
    CANCEL_SM = 0x08
    BIND_TRANSCEIVER = 0x09
    OUTBIND = 0x0B
    ENQUIRE_LINK = 0x15
    SUBMIT_MULTI = 0x21
    ALERT_NOTIFICATION = 0x102
    DATA_SM = 0x103


RESPONSE: Final = 0x80000000
GENERIC_NACK: Final = 0x80000000


class Status(enum.IntEnum):
    """command_status (SMPP 3.4 s5.1.3). Others exist: 0x400 to 0x4FF are the SMSC vendor's."""

    ESME_ROK = 0x00
    ESME_RINVMSGLEN = 0x01
    ESME_RINVCMDLEN = 0x02
    ESME_RINVCMDID = 0x03
    ESME_RINVBNDSTS = 0x04
    ESME_RALYBND = 0x05
    ESME_RINVPRTFLG = 0x06
    ESME_RINVREGDLVFLG = 0x07
    ESME_RSYSERR = 0x08
    ESME_RINVSRCADR = 0x0A
    ESME_RINVDSTADR = 0x0B
    ESME_RINVMSGID = 0x0C
    ESME_RBINDFAIL = 0x0D
    ESME_RINVPASWD = 0x0E
    ESME_RINVSYSID = 0x0F
    ESME_RCANCELFAIL = 0x11
    ESME_RREPLACEFAIL = 0x13
    ESME_RMSGQFUL = 0x14
    ESME_RINVSERTYP = 0x15
    ESME_RINVNUMDESTS = 0x33
    ESME_RINVDLNAME = 0x34
    ESME_RINVDESTFLAG = 0x40
    ESME_RINVSUBREP = 0x42
    ESME_RINVESMCLASS = 0x43
    ESME_RCNTSUBDL = 0x44
    ESME_RSUBMITFAIL = 0x45
    ESME_RINVSRCTON = 0x48
    ESME_RINVSRCNPI = 0x49
    ESME_RINVDSTTON = 0x50
    ESME_RINVDSTNPI = 0x51
    ESME_RINVSYSTYP = 0x53
    ESME_RINVREPFLAG = 0x54
    ESME_RINVNUMMSGS = 0x55
    ESME_RTHROTTLED = 0x58
    ESME_RINVSCHED = 0x61
    ESME_RINVEXPIRY = 0x62
    ESME_RINVDFTMSGID = 0x63
    ESME_RX_T_APPN = 0x64
    ESME_RX_P_APPN = 0x65
    ESME_RX_R_APPN = 0x66
    ESME_RQUERYFAIL = 0x67
    ESME_RINVOPTPARSTREAM = 0xC0
    ESME_ROPTPARNOTALLWD = 0xC1
    ESME_RINVPARLEN = 0xC2
    ESME_RMISSINGOPTPARAM = 0xC3
    ESME_RINVOPTPARAMVAL = 0xC4
    ESME_RDELIVERYFAILURE = 0xFE
    ESME_RUNKNOWNERR = 0xFF


_NAMES: Final = {status.value: status.name for status in Status}


def status_name(status: int) -> str:
    """`ESME_RTHROTTLED (0x58)`, or the bare number of one that has no name."""
    name = _NAMES.get(status)
    return f"0x{status:02X}" if name is None else f"{name} (0x{status:02X})"


def status_number(written: object) -> int:
    """The status that is written `0x401`, `1025` or `ESME_RSYSERR`. Raises ValueError."""
    known = Status.__members__.get(str(written).upper())
    return known.value if known is not None else _number(written, 0xFFFFFFFF, "status; write 0x401 or 1025")


def tag_number(written: object) -> int:
    """The tag that is written `0x1400` or `5120`. Raises ValueError."""
    return _number(written, 0xFFFF, "tag of an optional parameter; write 0x1400")


def _number(written: object, most: int, what: str) -> int:
    try:
        number = int(str(written), 0)
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise ValueError(f"'{written}' is no {what}")
    return number


class Tag(enum.IntEnum):
    """Optional parameters that we write or read (SMPP 3.4 s5.3.2); any other is kept as it came."""

    PAYLOAD_TYPE = 0x0019
    ADDITIONAL_STATUS_INFO_TEXT = 0x001D
    RECEIPTED_MESSAGE_ID = 0x001E
    USER_MESSAGE_REFERENCE = 0x0204
    SAR_MSG_REF_NUM = 0x020C
    SAR_TOTAL_SEGMENTS = 0x020E
    SAR_SEGMENT_SEQNUM = 0x020F
    SC_INTERFACE_VERSION = 0x0210
    NETWORK_ERROR_CODE = 0x0423
    MESSAGE_PAYLOAD = 0x0424
    DELIVERY_FAILURE_REASON = 0x0425
    MESSAGE_STATE = 0x0427


#: What interface_version says (s5.2.4).
INTERFACE_VERSION: Final = 0x34

#: Bits of esm_class (s5.2.12): the kind of message, and the mark of a user data header.
MESSAGE_TYPE: Final = 0x3C
DELIVERY_RECEIPT: Final = 0x04
INTERMEDIATE_NOTIFICATION: Final = 0x20
HAS_UDH: Final = 0x40

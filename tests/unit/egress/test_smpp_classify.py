"""What the SMSC's statuses mean, as a table, and what parts of a text make of its recipient."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.outcome import Scope, Verdict
from kumotwist.egress.sms.smpp.classify import Fault, classify, vendor_table
from kumotwist.egress.sms.smpp.outcomes import Judge
from kumotwist.egress.sms.smpp.transfer import Lost, PassedOver, Refused, Taken, Unsent
from kumotwist.proto.smpp.commands import Status

#: SMPP 3.4 s5.1.3, each status with what a sender can do about it.
EXPECTED = {
    Fault.TAKEN: "ROK",
    Fault.THROTTLED: "RTHROTTLED RMSGQFUL",
    Fault.TRANSIENT: "RSYSERR RSUBMITFAIL RX_T_APPN RDELIVERYFAILURE RUNKNOWNERR",
    Fault.ACCOUNT: "RINVBNDSTS RALYBND RBINDFAIL RINVPASWD RINVSYSID RINVSYSTYP RINVSERTYP",
    Fault.PERMANENT: "RINVMSGLEN RINVCMDLEN RINVCMDID RINVPRTFLG RINVREGDLVFLG RINVSRCADR RINVDSTADR RINVMSGID "
    "RCANCELFAIL RREPLACEFAIL RINVNUMDESTS RINVDLNAME RINVDESTFLAG RINVSUBREP RINVESMCLASS RCNTSUBDL RINVSRCTON "
    "RINVSRCNPI RINVDSTTON RINVDSTNPI RINVREPFLAG RINVNUMMSGS RINVSCHED RINVEXPIRY RINVDFTMSGID RX_P_APPN RX_R_APPN "
    "RQUERYFAIL RINVOPTPARSTREAM ROPTPARNOTALLWD RINVPARLEN RMISSINGOPTPARAM RINVOPTPARAMVAL",
}
JUDGE = Judge({0x401: Fault.PERMANENT}, "Retry", 300.0)
TAKEN, PERMANENT, TRANSIENT = Taken("a"), Refused(Status.ESME_RINVDSTADR), Refused(Status.ESME_RSYSERR)
ACCOUNT, LOST, GONE = Refused(Status.ESME_RINVBNDSTS), Lost("silence"), Lost("hung up", is_link_gone=True)
UNSENT, PASSED_OVER = Unsent("the bind is lost", 5.0), PassedOver()


@pytest.mark.parametrize("status", list(Status))
def test_every_status_of_the_specification(status):
    """None is forgotten."""
    fault = next(fault for fault, names in EXPECTED.items() if status.name.removeprefix("ESME_") in names.split())
    assert classify(status, {}) is fault


@given(st.integers(0, 0xFFFFFFFF))
def test_any_other_number(status):
    """A vendor's own is tried again; what nobody knows would fail again."""
    if status not in list(Status):
        assert classify(status, {}) is (Fault.TRANSIENT if 0x400 <= status <= 0x4FF else Fault.PERMANENT)
    assert classify(status, {status: Fault.ACCOUNT}) is Fault.ACCOUNT


@pytest.mark.parametrize(
    ("results", "verdict", "scope", "says"),
    [
        ([TAKEN], Verdict.DELIVERED, Scope.MESSAGE, "ESME_ROK (0x00): a"),
        ([Taken("")], Verdict.DELIVERED, Scope.MESSAGE, "no id"),
        ([TAKEN, Taken("b")], Verdict.DELIVERED, Scope.MESSAGE, "a b"),
        ([TAKEN, PERMANENT], Verdict.PERMANENT, Scope.MESSAGE, "part 2 of 2"),
        ([PERMANENT, PASSED_OVER], Verdict.PERMANENT, Scope.MESSAGE, "part 1 of 2"),
        ([LOST, PERMANENT, UNSENT], Verdict.PERMANENT, Scope.MESSAGE, "0x0B"),
        ([ACCOUNT, LOST], Verdict.TRANSIENT, Scope.SOURCE, "RINVBNDSTS"),
        ([TAKEN, UNSENT], Verdict.TRANSIENT, Scope.SOURCE, "the bind is lost"),
        ([TAKEN, LOST], Verdict.TRANSIENT, Scope.MESSAGE, "unknown whether it was taken"),
        ([TAKEN, GONE], Verdict.TRANSIENT, Scope.SESSION, "unknown whether it was taken"),
        ([TRANSIENT, PASSED_OVER], Verdict.TRANSIENT, Scope.MESSAGE, "RSYSERR"),
        ([None], Verdict.TRANSIENT, Scope.MESSAGE, "unknown"),
        (
            [Refused(0x401, "no credit\r\n250 ok")],
            Verdict.PERMANENT,
            Scope.MESSAGE,
            "vendor: no credit 250 ok",
        ),
    ],
)
def test_the_gravest_part_decides(results, verdict, scope, says):
    """And no line break of the SMSC's reaches a record."""
    outcome = JUDGE.outcome(results, None)
    assert (outcome.verdict, outcome.scope) == (verdict, scope)
    assert says in outcome.response.content
    assert outcome.response.content.isprintable()


@pytest.mark.parametrize(("written", "status"), [("0x401", 0x401), ("1025", 0x401), (1025, 0x401), ("esme_rsyserr", 8)])
def test_statuses_may_be_written_in_any_way(written, status):
    """Lua keys may be numbers; names are those of the specification."""
    assert vendor_table({written: "permanent"}) == {status: Fault.PERMANENT}

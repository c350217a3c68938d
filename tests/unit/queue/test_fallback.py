"""The rules of a fallback, as arithmetic on a table, a course, receipts and a time."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.config.queue import SmtpProtocol
from kumotwist.config.routes import FallbackStage, RouteEntry, RouteTableConfig
from kumotwist.config.structure import structure
from kumotwist.core.course import Course, Failure
from kumotwist.core.errors import ConfigError
from kumotwist.core.receipt import Heard, ReceiptState
from kumotwist.queue.fallback.rules import Step, begun, decide, on_stage, renewed

ROUTES = (RouteEntry(name="a", weight=1, protocol=SmtpProtocol()),)
PUSH = FallbackStage(route_table="push", wait=120.0, until_state="opened")
SMS = FallbackStage(route_table="sms", wait=300.0)
TABLE = RouteTableConfig(name="mail", routes=ROUTES, fallback=(PUSH, SMS))
DELIVERED, OPENED, FAILED = ReceiptState.DELIVERED, ReceiptState.OPENED, ReceiptState.FAILED


def step(course, *heard, now=1000.0, table=TABLE):
    decided = decide(table, course, heard, now)
    return decided.step, decided.reason, decided.stage.route_table if decided.stage else None


def handed(course):
    return evolve(course, is_handed_over=True)


def test_a_stage_has_until_the_next_one_s_wait_is_over():
    """Two minutes for mail, then push; five minutes for push, then SMS; SMS has no deadline."""
    mail = begun(TABLE, 1000.0)
    assert (mail.at, mail.deadline, mail.until) == ("mail", 1120.0, "opened")
    push = on_stage(TABLE, mail, PUSH, 1120.0)
    assert (push.at, push.deadline, push.until) == ("push", 1420.0, "delivered")
    sms = on_stage(TABLE, push, SMS, 1420.0)
    assert (sms.at, sms.deadline, sms.until) == ("sms", None, "")
    assert step(mail) == (Step.GO, "", None)
    assert step(mail, now=1119.9) == (Step.GO, "", None)
    assert step(mail, now=1120.0) == (Step.NEXT, "not_handed_over", "push")
    assert step(handed(mail), now=1119.9) == (Step.WAIT, "", None)
    assert step(handed(mail), now=1120.0) == (Step.NEXT, "no_receipt", "push")
    assert step(sms, now=99999.0) == (Step.GO, "", None)


def test_a_receipt_in_time_ends_it():
    """What was wanted, or more than that; less does not count."""
    mail = handed(begun(TABLE, 1000.0))
    assert step(mail, Heard("mail", OPENED, 1010.0)) == (Step.END, "", None)
    assert step(mail, Heard("mail", ReceiptState.CLICKED, 1010.0)) == (Step.END, "", None)
    assert step(mail, Heard("mail", DELIVERED, 1010.0)) == (Step.WAIT, "", None)
    assert step(mail, Heard(None, OPENED, 1010.0)) == (Step.END, "", None)


def test_a_late_success_cancels():
    """Before each attempt on a later stage what was heard of the earlier ones counts, each by what it had to reach."""
    push = on_stage(TABLE, begun(TABLE, 1000.0), PUSH, 1120.0)
    assert step(push, Heard("mail", OPENED, 1130.0)) == (Step.END, "cancelled", None)
    assert step(push, Heard("mail", DELIVERED, 1130.0)) == (Step.GO, "", None)
    sms = on_stage(TABLE, push, SMS, 1420.0)
    assert step(sms, Heard("push", DELIVERED, 1430.0)) == (Step.END, "cancelled", None)
    assert step(sms, Heard("mail", OPENED, 1430.0)) == (Step.END, "cancelled", None)
    assert step(sms, Heard("sms", DELIVERED, 1430.0)) == (Step.GO, "", None), "it is the last: nothing to wait for"


def test_what_ends_badly_is_followed_at_once():
    """A refusal, an expiry, a failed receipt of this stage; not one of the stage before."""
    mail = begun(TABLE, 1000.0)
    refused = evolve(mail, failure=Failure("refused", "550 5.1.1 no"))
    assert step(refused) == (Step.NEXT, "refused", "push")
    assert step(refused, Heard("mail", OPENED, 1.0)) == (Step.END, "cancelled", None)
    assert step(handed(mail), Heard("mail", FAILED, 1001.0)) == (Step.NEXT, "failed_receipt", "push")
    assert step(handed(mail), Heard(None, FAILED, 1001.0)) == (Step.NEXT, "failed_receipt", "push")
    push = handed(on_stage(TABLE, mail, PUSH, 1001.0))
    assert step(push, Heard("mail", FAILED, 1000.5), Heard(None, FAILED, 1000.5), now=1002.0) == (Step.WAIT, "", None)


def test_a_list_that_shrinks():
    """Without a stage ahead what was handed over is done, what was refused has bounced, the rest goes on."""
    without = evolve(TABLE, fallback=())
    mail = renewed(without, begun(TABLE, 1000.0), 1001.0)
    assert mail.deadline is None
    assert step(mail, table=without)[0] is Step.GO
    assert step(handed(mail), table=without)[0] is Step.END
    assert step(evolve(mail, failure=Failure("refused", "no")), table=without)[0] is Step.LOST
    sms = on_stage(TABLE, on_stage(TABLE, begun(TABLE, 1000.0), PUSH, 1120.0), SMS, 1200.0)
    assert renewed(evolve(TABLE, fallback=(PUSH,)), sms, 1201.0) is None


@pytest.mark.parametrize("is_handed_over", [True, False])
def test_a_stage_that_is_taken_out(is_handed_over):
    """The next one follows: when no receipt has come in time, or at once when there is nothing to wait for."""
    push = on_stage(TABLE, handed(begun(TABLE, 1000.0)), PUSH, 1120.0)
    shorter = evolve(TABLE, fallback=(SMS,))
    there = renewed(shorter, evolve(push, is_handed_over=is_handed_over), 1121.0)
    early = decide(shorter, there, (), 1121.0)
    if is_handed_over:
        assert early.step is Step.WAIT
        early = decide(shorter, there, (), 1120.0 + SMS.wait)
    assert (early.step, early.stage) == (Step.NEXT, SMS)
    assert early.reason == ("no_receipt" if is_handed_over else "gone")
    assert on_stage(shorter, there, SMS, 1200.0).was_handed_over


def test_a_stage_that_is_renamed():
    """The message is where it was; where it has been it does not come again."""
    text = evolve(SMS, route_table="text")
    push = on_stage(TABLE, handed(begun(TABLE, 1000.0)), PUSH, 1120.0)
    assert renewed(evolve(TABLE, fallback=(text, SMS)), push, 1121.0).at == "text"
    sms = on_stage(TABLE, push, SMS, 1200.0)
    there = renewed(evolve(TABLE, fallback=(PUSH, text)), sms, 1201.0)
    assert (there.at, there.since, there.was_handed_over) == ("text", 1200.0, True)
    assert renewed(evolve(TABLE, fallback=(text, PUSH)), sms, 1201.0) is None


def test_the_present_options_hold():
    """A longer wait after a reload of policy holds for what waits."""
    longer = evolve(TABLE, fallback=(evolve(PUSH, wait=600.0), SMS))
    assert renewed(longer, handed(begun(TABLE, 1000.0)), 1001.0).deadline == 1600.0


def test_a_clock_that_was_put_back():
    """A stage that has begun in the future begins now."""
    assert renewed(TABLE, begun(TABLE, 5000.0), 1000.0).deadline == 1120.0


@given(
    st.floats(0, 1e4), st.booleans(), st.integers(0, 2), st.lists(st.sampled_from(sorted(ReceiptState, key=repr))),
    st.sampled_from(["mail", "push", "sms", None]), st.booleans(),
)  # fmt: skip
def test_whatever_is_heard_a_message_has_one_next_step(now, is_handed_over, stages, states, table, has_failed):
    """It goes, waits, moves to the stage behind its own, or ends; and ends quietly only when it got somewhere."""
    course = begun(TABLE, 1000.0)
    for stage in (PUSH, SMS)[:stages]:
        course = on_stage(TABLE, course, stage, 1000.0)
    failure = Failure("refused", "no") if has_failed else None
    course = evolve(course, is_handed_over=is_handed_over, failure=failure)
    heard = [Heard(table, state, 1000.0) for state in states]
    decided = decide(TABLE, course, heard, now)
    assert (decided.stage is not None) == (decided.step is Step.NEXT)
    if decided.step is Step.NEXT:
        assert decided.stage is (PUSH, SMS)[stages]
        assert decided.reason
    if decided.step is Step.END and not is_handed_over:
        assert heard
    if decided.step is Step.WAIT:
        assert is_handed_over
        assert now < course.deadline


@pytest.mark.parametrize(
    ("fallback", "complaint"),
    [
        ([{"route_table": "mail"}], "leads back to 'mail' itself"),
        ([{"route_table": "sms"}, {"route_table": "push"}, {"route_table": "sms"}], "names the table 'sms' twice"),
        ([{"route_table": f"t{number}"} for number in range(9)], "has 9 stages; there may be 8"),
        ([{"route_table": "sms", "wait": "0 seconds"}], "must be more than 0"),
        ([{"route_table": "sms", "until_state": "read"}], "until_state"),
        ([{"wait": "1 minute"}], "route_table"),
    ],
)
def test_a_fallback_that_cannot_be_followed_is_refused(fallback, complaint):
    """Cycles and typing errors are found when the table is made."""
    routes = [{"name": "a", "weight": 1}]
    with pytest.raises(ConfigError, match=complaint):
        structure(RouteTableConfig, {"name": "mail", "routes": routes, "fallback": fallback})


def test_the_defaults():
    """Five minutes, until it is delivered."""
    table = structure(
        RouteTableConfig,
        {"name": "mail", "routes": [{"name": "a", "weight": 1}], "fallback": [{"route_table": "sms"}]},
    )
    assert table.fallback == (FallbackStage(route_table="sms", wait=300.0, until_state="delivered"),)
    assert isinstance(Course(table="x", since=1.0).to_json(), dict)

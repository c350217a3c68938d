"""What an outcome or a receipt says about the route that carried the message.

What is the recipient's fault says nothing about the route: an unknown user is
unknown on every way. What the provider thinks of our account or our content
does: another one may think otherwise.

Public: `Signal`, `OF_HANDOVER`, `signal_of`, `signal_of_receipt`, `may_go_elsewhere`. Pure tables.
"""

from __future__ import annotations

import enum
from typing import Final

from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.receipt import ReceiptClass, ReceiptState

#: Scopes of a passing failure that is the way's own: a provider's 503 is about the message in hand, but another
#: provider would have taken it. A single recipient's (full mailbox, greylisting) is not.
_OF_THE_WAY: Final = frozenset((Scope.MESSAGE, Scope.SESSION, Scope.SITE, Scope.SOURCE))
#: Reasons of a failure after hand-over that are the recipient's, not the way's.
_OF_THE_RECIPIENT: Final = frozenset((ReceiptClass.HARD, ReceiptClass.AUTOREPLY, ReceiptClass.SUPPRESSED))
#: RFC 3463 s3.2: subject 1 is about the address.
_ADDRESS: Final = 1


class Signal(enum.Enum):
    """What an outcome says about the route. What is the recipient's fault says nothing, and is not reported."""

    #: It was handed over.
    HANDED_OVER = "handed over"
    #: It was, but later than the operator wants: the route is worse for it, though alive.
    SLOW = "handed over late"
    #: It was not, and the route is at fault: no connection, our account, 5xx, refusal of our content.
    FAILED = "failed"
    #: A receipt: it arrived.
    ARRIVED = "arrived"
    #: A receipt, or its absence: it did not, and the route is at fault.
    LOST = "lost"


#: What is said about getting a message out; the rest is about its arrival.
OF_HANDOVER: Final = frozenset((Signal.HANDED_OVER, Signal.SLOW, Signal.FAILED))


def signal_of(outcome: Outcome, seconds: float = 0.0, within: float | None = None) -> Signal | None:
    """What an attempt says that took so many seconds; None when it says nothing.

    `within`: a hand-over that took longer is late.
    """
    if outcome.verdict is Verdict.DELIVERED:
        return Signal.HANDED_OVER if within is None or seconds <= within else Signal.SLOW
    if outcome.verdict is Verdict.TRANSIENT:
        return Signal.FAILED if outcome.scope in _OF_THE_WAY else None
    enhanced = outcome.response.enhanced
    if outcome.is_address_dead or outcome.scope is Scope.RECIPIENT or (enhanced and enhanced.subject == _ADDRESS):
        return None
    return Signal.FAILED


def signal_of_receipt(
    state: ReceiptState, class_: ReceiptClass, seconds: float | None = None, within: float | None = None
) -> Signal | None:
    """What a receipt says that came so many seconds after the hand-over; None when it says nothing.

    `within`: an arrival later than that is a loss.
    """
    if state is ReceiptState.DELIVERED and seconds is not None and within is not None and seconds > within:
        return Signal.LOST
    if state in (ReceiptState.DELIVERED, ReceiptState.OPENED, ReceiptState.CLICKED):
        return Signal.ARRIVED
    if state in (ReceiptState.FAILED, ReceiptState.EXPIRED):
        return None if class_ in _OF_THE_RECIPIENT else Signal.LOST
    return Signal.LOST if state is ReceiptState.COMPLAINED else None


def may_go_elsewhere(outcome: Outcome, when_unknown: bool) -> bool:
    """Whether the attempt may go on over another route; `when_unknown`: even if the peer may have taken it."""
    if outcome.verdict is not Verdict.TRANSIENT or outcome.scope not in _OF_THE_WAY:
        return False
    return when_unknown or not outcome.is_ambiguous

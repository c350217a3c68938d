"""What an outcome or a receipt says about the route that carried the message.

What is the recipient's fault says nothing about the route, but that somebody
answers there: an unknown user is unknown on every way. What the provider thinks
of our account or our content does: another one may think otherwise. But what
it thinks of one message is no sign that the way has died: the next sender's
will pass.

Public: `Signal`, `IS_ALIVE`, `OF_HANDOVER`, `signal_of`, `signal_of_receipt`, `may_go_elsewhere`. Pure tables.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.receipt import ReceiptClass, ReceiptState
from kumotwist.core.response import INTERNAL_PREFIX

#: Scopes of a passing failure that is the way's own: a provider's 503 is about the message in hand, but another
#: provider would have taken it. A single recipient's (full mailbox, greylisting) is not.
_OF_THE_WAY: Final = frozenset((Scope.MESSAGE, Scope.SESSION, Scope.SITE, Scope.SOURCE))
#: Reasons of a failure after hand-over that are the recipient's, not the way's.
_OF_THE_RECIPIENT: Final = frozenset((ReceiptClass.HARD, ReceiptClass.AUTOREPLY, ReceiptClass.SUPPRESSED))
#: RFC 3463 s2: by their subject, codes about the address and the mailbox; and about the system at the other end, the
#: network and our standing there, which are never about one message.
_ADDRESS: Final = 1
_RECIPIENT: Final = (_ADDRESS, 2)
_SYSTEM: Final = (3, 4)
#: And those about what is in a message, or about policy and trust.
_CONTENT: Final = (6, 7)
_OF_ALL_MESSAGES: Final = (*_SYSTEM, 7)


class Signal(enum.Enum):
    """What an outcome says about the route."""

    #: It was handed over.
    HANDED_OVER = "handed over"
    #: It was, but later than the operator wants: the route is worse for it, though alive.
    SLOW = "handed over late"
    #: It was not, and the route is at fault: no connection, our account, a server in trouble.
    FAILED = "failed"
    #: It was not, for what is in it: one route may be worse than another for that, but it has not died.
    REFUSED = "refused"
    #: It was not, and the recipient is at fault: all that it shows is that somebody answers.
    ANSWERED = "answered"
    #: A receipt: it arrived.
    ARRIVED = "arrived"
    #: A receipt, or its absence: it did not, and the route is at fault.
    LOST = "lost"


#: What is said about getting a message out; the rest is about its arrival.
OF_HANDOVER: Final = frozenset((Signal.HANDED_OVER, Signal.SLOW, Signal.FAILED, Signal.REFUSED))
#: Whether the way is alive, which is the breaker's affair; the others do not tell.
IS_ALIVE: Final[Mapping[Signal, bool]] = {
    Signal.HANDED_OVER: True,
    Signal.SLOW: True,
    Signal.ANSWERED: True,
    Signal.FAILED: False,
}


def signal_of(outcome: Outcome, seconds: float = 0.0, within: float | None = None) -> Signal | None:
    """What an attempt says that took so many seconds; None when it says nothing.

    `within`: a hand-over that took longer is late.
    """
    if outcome.verdict is Verdict.DELIVERED:
        return Signal.HANDED_OVER if within is None or seconds <= within else Signal.SLOW
    if _is_of_the_recipient(outcome):
        return Signal.ANSWERED if _has_answered(outcome) else None
    return Signal.REFUSED if _is_of_the_message(outcome) else Signal.FAILED


def _subject(outcome: Outcome) -> int | None:
    enhanced = outcome.response.enhanced
    return enhanced.subject if enhanced is not None else None


def _is_of_the_recipient(outcome: Outcome) -> bool:
    """Whether a failure is about whom it was for, as far as can be told."""
    if outcome.is_address_dead:
        return True
    if outcome.scope is Scope.RECIPIENT:
        # By SMTP each answer is one recipient's, also what is said of the content or of us.
        return outcome.verdict is Verdict.TRANSIENT or _subject(outcome) not in _CONTENT
    if outcome.verdict is Verdict.TRANSIENT:
        return outcome.scope is Scope.MESSAGE and _subject(outcome) in _RECIPIENT
    return _subject(outcome) == _ADDRESS or (outcome.scope is Scope.MESSAGE and _subject(outcome) in _RECIPIENT)


def _has_answered(outcome: Outcome) -> bool:
    """Whether the peer has said so itself, and nothing that is about itself."""
    if outcome.response.content.startswith(INTERNAL_PREFIX):
        return False
    if outcome.is_address_dead or _subject(outcome) in _RECIPIENT:
        return True
    return outcome.response.command is not None and _subject(outcome) not in _SYSTEM


def _is_of_the_message(outcome: Outcome) -> bool:
    """Whether it is a refusal that another message would not have met, as far as can be told."""
    if outcome.verdict is not Verdict.PERMANENT:
        return False
    if outcome.scope is Scope.RECIPIENT:
        return True
    if outcome.scope is not Scope.MESSAGE:
        return False
    return not outcome.is_ambiguous and _subject(outcome) not in _OF_ALL_MESSAGES


def signal_of_receipt(
    state: ReceiptState, class_: ReceiptClass, seconds: float | None = None, within: float | None = None
) -> Signal | None:
    """What a receipt says that came so many seconds after the hand-over; None when it says nothing.

    `within`: an arrival later than that is a loss. Who opens a message says
    nothing of those that are not opened, which have arrived mostly as well.
    """
    if state is ReceiptState.DELIVERED and seconds is not None and within is not None and seconds > within:
        return Signal.LOST
    if state is ReceiptState.DELIVERED:
        return Signal.ARRIVED
    if state in (ReceiptState.FAILED, ReceiptState.EXPIRED):
        return None if class_ in _OF_THE_RECIPIENT else Signal.LOST
    return Signal.LOST if state is ReceiptState.COMPLAINED else None


def may_go_elsewhere(outcome: Outcome, when_unknown: bool) -> bool:
    """Whether the attempt may go on over another route; `when_unknown`: even if the peer may have taken it."""
    if outcome.verdict is not Verdict.TRANSIENT or outcome.scope not in _OF_THE_WAY:
        return False
    return when_unknown or not outcome.is_ambiguous

"""What a response means for a recipient: KumoMTA's table, pure.

    code                        verdict
    200 to 299                  delivered
    300 to 499, 503             transient
    anything else               permanent

Public: `verdict_of`, `make_outcome`, `is_too_many`.
"""

from __future__ import annotations

from typing import Literal

from kumotwist.core.outcome import Outcome, Peer, Scope, Verdict
from kumotwist.core.response import INTERNAL_PREFIX, Response


def verdict_of(code: int) -> Verdict:
    """See the table above."""
    if code < 300:
        return Verdict.DELIVERED
    return Verdict.TRANSIENT if code < 500 or code == 503 else Verdict.PERMANENT


def make_outcome(response: Response, peer: Peer | None, is_connected: bool, is_ambiguous: bool = False) -> Outcome:
    """The outcome for one recipient; a failure that took the connection with it has scope SESSION.

    `is_ambiguous`: the whole message had left us when it did.
    """
    verdict = verdict_of(response.code)
    is_end = not is_connected and verdict is not Verdict.DELIVERED and not _is_the_recipients(response)
    return Outcome(verdict, response, Scope.SESSION if is_end else Scope.RECIPIENT, peer, is_ambiguous=is_ambiguous)


def _is_the_recipients(response: Response) -> bool:
    """Whether it is the peer's answer to a RCPT, whatever became of the connection afterwards."""
    is_answer = (response.command or "").startswith("RCPT ") and not response.content.startswith(INTERNAL_PREFIX)
    return is_answer and response.code not in (421, 503)


def is_too_many(response: Response) -> Literal["yes", "perhaps", "no"]:
    """Whether a refused RCPT says "too many recipients" rather than anything about this one.

    RFC 5321 s4.5.3.1.10: 452, formerly 552. Without an enhanced code it may be
    the mailbox's quota as well.
    """
    if response.code not in (452, 552) or not (response.command or "").startswith("RCPT "):
        return "no"
    enhanced = response.enhanced
    if enhanced is None:
        return "perhaps"
    return "yes" if (enhanced.subject, enhanced.detail) == (5, 3) else "no"

"""What a policy asked of the outside world without the test having said what it hears.

A policy may well swallow an error that it is given; the test fails all the same. So it does when a function of the
test that answers for a channel or a server fails.

Public: `Unscripted`.
"""

from __future__ import annotations

from attrs import define, field

from kumotwist.trial.policytest.faults import Failed

#: Kept of a policy that asks in a loop. Ours.
_MAX_KEPT = 100


@define(eq=False)
class Unscripted:
    """Questions for which there was no answer, in words that say how to give one."""

    _questions: list[str] = field(factory=list)

    def note(self, question: str) -> str:
        """Keep `question`, and return it for the error that the policy hears."""
        if len(self._questions) < _MAX_KEPT and question not in self._questions:
            self._questions.append(question)
        return question

    def check(self) -> None:
        """Raises Failed when there was one; again and again, since a test may swallow that as well."""
        if self._questions:
            raise Failed("\n".join(self._questions))

"""From what the SMSC said about the parts of a text to the outcome for its recipient. Pure.

The gravest part decides: a refusal for good, then a source that has to rest,
then doubt, then a refusal for now. Only a text all of whose parts were taken is
delivered.

Public: `Judge`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from kumotwist.config.queue import OnUnknown
from kumotwist.core.outcome import Outcome, Peer, Scope, Verdict
from kumotwist.core.receipt import MAX_TEXT, printable
from kumotwist.core.response import INTERNAL_PREFIX, Response
from kumotwist.egress.sms.smpp.classify import Fault, classify
from kumotwist.egress.sms.smpp.transfer import Lost, Refused, Result, Taken, Unsent
from kumotwist.proto.smpp.commands import Status, status_name
from kumotwist.proto.smpp.words import status_text

_TAKEN: Final = status_name(Status.ESME_ROK)
_FORGOTTEN: Final = Lost("no answer was noted")


@frozen(eq=False)
class Judge:
    """Judges in the name of one account. `vendor` is the operator's table, `rest` for faults of the account."""

    vendor: Mapping[int, Fault]
    on_unknown: OnUnknown
    rest: float

    def outcome(self, results: Sequence[Result | None], peer: Peer | None) -> Outcome:
        """The outcome for a recipient whose parts came to `results`."""
        ids = [one.message_id for one in results if isinstance(one, Taken)]
        if len(ids) == len(results):
            return self._delivered(ids, peer)
        refused = [(classify(one.status, self.vendor), one) for one in results if isinstance(one, Refused)]
        for fault, one in refused:
            if fault is Fault.PERMANENT:
                text = printable(_said(one, results), MAX_TEXT)
                return Outcome(
                    Verdict.PERMANENT,
                    Response(550, text),
                    Scope.MESSAGE,
                    peer,
                    remote_id=_joined(ids),
                    parts=len(results),
                )
        for fault, one in refused:
            if fault is Fault.ACCOUNT:
                return _transient(421, _said(one, results), Scope.SOURCE, peer, self.rest)
        for result in results:
            if isinstance(result, Unsent):
                return _transient(421, result.text, Scope.SOURCE, peer, result.retry_after, result.is_told)
        lost = next((one for one in results if isinstance(one, Lost)), None)
        if lost is None and not refused:
            lost = _FORGOTTEN
        if lost is not None:
            return self._unknown(lost, peer)
        return _transient(451, _said(refused[0][1], results), Scope.MESSAGE, peer)

    def refused(self, reason: str, peer: Peer | None) -> Outcome:
        """For a recipient that cannot be sent to at all."""
        text = printable(f"{INTERNAL_PREFIX}{reason}", MAX_TEXT)
        return Outcome(Verdict.PERMANENT, Response(550, text), Scope.RECIPIENT, peer)

    def _delivered(self, ids: Sequence[str], peer: Peer | None) -> Outcome:
        remote_id = _joined(ids)
        text = printable(f"{_TAKEN}: {remote_id or 'no id'}", MAX_TEXT)
        return Outcome(Verdict.DELIVERED, Response(200, text), Scope.MESSAGE, peer, remote_id=remote_id, parts=len(ids))

    def _unknown(self, lost: Lost, peer: Peer | None) -> Outcome:
        """It was sent; what became of it is not known."""
        text = printable(f"{INTERNAL_PREFIX}unknown whether it was taken: {lost.text}", MAX_TEXT)
        if self.on_unknown == "AssumeDelivered":
            return Outcome(Verdict.DELIVERED, Response(200, text), Scope.MESSAGE, peer, is_ambiguous=True)
        if self.on_unknown == "Bounce":
            return Outcome(Verdict.PERMANENT, Response(550, text), Scope.MESSAGE, peer, is_ambiguous=True)
        scope = Scope.SESSION if lost.is_link_gone else Scope.MESSAGE
        return Outcome(Verdict.TRANSIENT, Response(451, text), scope, peer, is_ambiguous=True)


def _transient(
    code: int, text: str, scope: Scope, peer: Peer | None, retry_after: float | None = None, is_told: bool = False
) -> Outcome:
    response = Response(code, printable(text, MAX_TEXT))
    return Outcome(Verdict.TRANSIENT, response, scope, peer, retry_after, is_told=is_told)


def _said(refused: Refused, results: Sequence[Result | None]) -> str:
    """The status by name and in words, the SMSC's own words, and which part it was."""
    text = status_text(refused.status)
    if refused.text:
        text += f": {refused.text}"
    if len(results) > 1:
        text += f" (part {results.index(refused) + 1} of {len(results)})"
    return text


def _joined(ids: Sequence[str]) -> str | None:
    """Ids with a space between them; none has one in it."""
    return " ".join(ids).strip() or None

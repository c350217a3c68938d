"""What becomes of recipients when no reply tells: no connection, no secret, or silence after the request.

Public: `Unanswered`.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve, frozen

from kumotwist.core.errors import SecretUnavailable
from kumotwist.core.outcome import Outcome, Peer, Scope, Verdict
from kumotwist.core.receipt import MAX_TEXT, printable
from kumotwist.core.response import INTERNAL_PREFIX, Response
from kumotwist.egress.api.options import CallOptions
from kumotwist.net.http import HttpError

#: Seconds to rest when a secret cannot be had just now. Ours: Vault comes back sooner than an account does.
_SECRET_REST: Final = 30.0


@frozen
class Unanswered:
    """Outcomes in our own words, for one account of the channel `name`."""

    name: str
    options: CallOptions
    peer: Peer

    def without_secret(self, error: SecretUnavailable) -> Outcome:
        """The credentials cannot be had: the source rests."""
        text = printable(f"{INTERNAL_PREFIX}{self.name} credentials: {error}", MAX_TEXT)
        rest = self.options.rest if error.permanent else _SECRET_REST
        return Outcome(Verdict.TRANSIENT, Response(421, text), Scope.SOURCE, self.peer, rest)

    def without_reply(self, error: HttpError, is_idempotent: bool = False) -> Outcome:
        """No reply came: in doubt when the request had left us whole."""
        if error.was_sent:
            return self.unknown(str(error), is_idempotent)
        return evolve(self.transient(str(error)), scope=Scope.SESSION)

    def unknown(self, text: str, is_idempotent: bool = False) -> Outcome:
        """The request was sent whole; what became of it is not known. `on_unknown` decides."""
        peer, choice = self.peer, self.options.on_unknown
        if is_idempotent:
            return evolve(self.transient(f"{text}; asked again with the same key"), scope=Scope.SESSION)
        said = printable(f"{INTERNAL_PREFIX}unknown whether it was taken: {text}", MAX_TEXT)
        if choice == "AssumeDelivered":
            return Outcome(Verdict.DELIVERED, Response(200, said), Scope.MESSAGE, peer, is_ambiguous=True)
        if choice == "Bounce":
            return Outcome(Verdict.PERMANENT, Response(550, said), Scope.MESSAGE, peer, is_ambiguous=True)
        return Outcome(Verdict.TRANSIENT, Response(451, said), Scope.SESSION, peer, is_ambiguous=True)

    def transient(self, text: str) -> Outcome:
        """Later, by the queue's schedule."""
        response = Response(451, printable(f"{INTERNAL_PREFIX}{text}", MAX_TEXT))
        return Outcome(Verdict.TRANSIENT, response, Scope.MESSAGE, self.peer)

    def impossible(self, error: ValueError) -> Outcome:
        """What this message makes is no request that anybody could be sent."""
        text = printable(f"{INTERNAL_PREFIX}this cannot be sent: {error}", MAX_TEXT)
        return Outcome(Verdict.PERMANENT, Response(550, text), Scope.MESSAGE, self.peer)

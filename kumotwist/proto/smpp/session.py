"""An SMPP session from the sending side, as a wire core: bytes in, events out, no socket and no clock.

    session = EsmeSession(rules)
    session.bind(BindMode.TRANSCEIVER, credentials, now)
    write(session.data_to_send())
    for event in session.receive_data(data, now): ...

Its owner writes `data_to_send()` after every call, and calls `tick` at
`next_timeout()`. Requests may be answered in any order; enquire_link is asked
and answered here. A message that comes in is an event, and the owner says with
`acknowledge` what is answered: an SMSC that gets no answer stalls.

Public: `EsmeSession`, `Rules`, `State`. What a peer does wrong is answered as
SMPP 3.4 has it, or ends the session with an `Ended` event; our own misuse
raises LocalProtocolError.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from math import inf
from typing import Final

from attrs import frozen

from kumotwist.core.errors import LocalProtocolError
from kumotwist.proto.smpp.bind import BindMode, Credentials, decode_bind_answer, encode_bind
from kumotwist.proto.smpp.commands import GENERIC_NACK, RESPONSE, Command, Status
from kumotwist.proto.smpp.events import Answer, Bound, Ended, Event, Incoming, Refused, Unanswered, Unbound
from kumotwist.proto.smpp.fields import Malformed
from kumotwist.proto.smpp.messages import decode_answer, decode_short_message
from kumotwist.proto.smpp.pdu import Pdu, PduReader
from kumotwist.proto.smpp.words import status_text

#: The highest sequence number (SMPP 3.4 s3.2).
MAX_SEQUENCE: Final = 0x7FFFFFFF
#: Messages from the SMSC that wait for our answer; the SMSC is to try later beyond it. Ours: far above
#: the window of any SMSC.
MAX_INCOMING: Final = 1_000

_MESSAGES: Final = (Command.DELIVER_SM, Command.DATA_SM)


@frozen(kw_only=True)
class Rules:
    """Seconds, and the most requests of ours that may be without answer."""

    window: int = 10
    response_timeout: float = 60.0
    enquire_interval: float = 30.0


class State(enum.Enum):
    """SMPP 3.4 s2.2, as we see it."""

    OPEN = "open"
    BINDING = "binding"
    BOUND = "bound"
    UNBINDING = "unbinding"
    ENDED = "ended"


class EsmeSession:
    """The state of one connection."""

    __slots__ = (
        "_deadline", "_enquiry", "_heard_at", "_incoming", "_mode", "_out", "_own_sequence", "_reader", "_rules",
        "_sequence", "_waiting", "state",
    )  # fmt: skip

    def __init__(self, rules: Rules) -> None:
        self.state = State.OPEN
        self._rules = rules
        self._mode = BindMode.TRANSCEIVER
        self._reader = PduReader()
        self._out: list[bytes] = []
        self._sequence = 0
        #: When each submit_sm without answer is given up, oldest first: all wait equally long.
        self._waiting: dict[int, float] = {}
        #: How many messages of the SMSC we have not answered.
        self._incoming = 0
        #: Of the bind or unbind that is under way.
        self._own_sequence = 0
        self._deadline = inf
        #: The enquire_link without answer.
        self._enquiry = 0
        self._heard_at = inf

    # -- what the owner asks for ------------------------------------------------------------------

    @property
    def can_submit(self) -> bool:
        """Whether the window has room for another message."""
        return self.state is State.BOUND and self._mode.can_submit and len(self._waiting) < self._rules.window

    @property
    def outstanding(self) -> int:
        """How many submit_sm are without answer."""
        return len(self._waiting)

    def bind(self, mode: BindMode, who: Credentials, now: float, address_range: str = "") -> None:
        """Introduce ourselves; Bound or Refused follows. Raises LocalProtocolError for a text that does not fit."""
        if self.state is not State.OPEN:
            raise LocalProtocolError("a session binds once")
        self._mode = mode
        self._own_sequence = self._request(mode.value, encode_bind(who, address_range))
        self._deadline = now + self._rules.response_timeout
        self.state = State.BINDING

    def submit(self, body: bytes, now: float) -> int:
        """Send what `encode_short_message` made; the sequence number that its Answer or Unanswered will have."""
        if not self.can_submit:
            raise LocalProtocolError("not bound for sending, or the window is full")
        sequence = self._request(Command.SUBMIT_SM, body)
        self._waiting[sequence] = now + self._rules.response_timeout
        return sequence

    def acknowledge(self, incoming: Incoming, status: int = Status.ESME_ROK) -> None:
        """Answer a message, each once; after the end of the session there is nobody to be answered."""
        self._incoming -= 1
        if self.state is not State.ENDED:
            self._respond(incoming.command, status, incoming.sequence, b"\0")

    def unbind(self, now: float) -> None:
        """Say goodbye; Unbound or Ended follows. Nothing can be sent any more, answers still come in."""
        if self.state is State.BOUND:
            self._own_sequence = self._request(Command.UNBIND, b"")
            self._deadline = now + self._rules.response_timeout
            self.state = State.UNBINDING

    def data_to_send(self) -> bytes:
        """What is to be written now; each octet comes out once."""
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)

    # -- what the peer and the clock do -----------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Take what the peer sent."""
        events: list[Event] = []
        self._heard_at = now
        for pdu in self._reader.feed(data):
            if self.state is State.ENDED:
                return events
            self._receive(pdu, events)
        if self._reader.problem is not None and self.state is not State.ENDED:
            # There is no telling which request it was (s4.3.1).
            self._out.append(Pdu(GENERIC_NACK, Status.ESME_RINVCMDLEN, 0).encode())
            self._end(str(self._reader.problem), events)
        return events

    def next_timeout(self) -> float:
        """When `tick` is to be called, in the time that was handed in; infinity for never."""
        if self.state is State.ENDED:
            return inf
        nearest = self._deadline
        if self._waiting:
            nearest = min(nearest, next(iter(self._waiting.values())))
        if self.state is State.BOUND:
            patience = self._rules.enquire_interval
            if self._enquiry:
                patience += self._rules.response_timeout
            nearest = min(nearest, self._heard_at + patience)
        return nearest

    def tick(self, now: float) -> Sequence[Event]:
        """Act on the deadlines that have passed."""
        if self.state is State.ENDED:
            return ()
        events: list[Event] = []
        while self._waiting and next(iter(self._waiting.values())) <= now:
            sequence = next(iter(self._waiting))
            del self._waiting[sequence]
            events.append(Unanswered(sequence))
        if now >= self._deadline:
            what = "bind" if self.state is State.BINDING else "unbind"
            self._end(f"no answer to {what} in {self._rules.response_timeout:g} seconds", events)
        elif self.state is State.BOUND and now >= self._heard_at + self._rules.enquire_interval:
            self._enquire(now, events)
        return events

    # -- inside -----------------------------------------------------------------------------------

    def _enquire(self, now: float, events: list[Event]) -> None:
        """Ask an SMSC that has been silent whether it is there; silence after that ends the session."""
        if not self._enquiry:
            self._enquiry = self._request(Command.ENQUIRE_LINK, b"")
        elif now >= self._heard_at + self._rules.enquire_interval + self._rules.response_timeout:
            self._end(f"no answer to enquire_link in {self._rules.response_timeout:g} seconds", events)

    def _receive(self, pdu: Pdu, events: list[Event]) -> None:
        # Whatever it is, the SMSC is there.
        self._enquiry = 0
        if pdu.command == Command.SUBMIT_SM | RESPONSE:
            self._answered(pdu, events)
        elif pdu.command == GENERIC_NACK:
            self._nacked(pdu, events)
        elif pdu.command & RESPONSE:
            self._responded(pdu, events)
        elif pdu.command in _MESSAGES:
            self._incoming_message(Command(pdu.command), pdu, events)
        elif pdu.command == Command.ENQUIRE_LINK:
            self._respond(Command.ENQUIRE_LINK, Status.ESME_ROK, pdu.sequence)
        elif pdu.command == Command.UNBIND:
            self._respond(Command.UNBIND, Status.ESME_ROK, pdu.sequence)
            self.state = State.ENDED
            self._deadline = inf
            events.append(Unbound())
        elif pdu.command not in (Command.ALERT_NOTIFICATION, Command.OUTBIND):
            # These two have no response (s4.12.1, s4.1.7); the rest is not for us or not known.
            self._out.append(Pdu(GENERIC_NACK, Status.ESME_RINVCMDID, pdu.sequence).encode())

    def _answered(self, pdu: Pdu, events: list[Event]) -> None:
        if self._waiting.pop(pdu.sequence, None) is None:
            # Too late, or made up: Unanswered has been said, or there never was such a request.
            return
        try:
            answer = decode_answer(pdu.body)
        except Malformed:
            # The status is in the header and good for all that matters; the id cannot be read.
            events.append(Answer(pdu.sequence, pdu.status, ""))
        else:
            events.append(Answer(pdu.sequence, pdu.status, answer.message_id, answer.tlvs))

    def _nacked(self, pdu: Pdu, events: list[Event]) -> None:
        """The SMSC could not read a request of ours (s4.3)."""
        status = pdu.status or Status.ESME_RUNKNOWNERR
        if self._waiting.pop(pdu.sequence, None) is not None:
            events.append(Answer(pdu.sequence, status, ""))
        elif self.state is State.BINDING and pdu.sequence in (0, self._own_sequence):
            self._refuse(status, events)
        elif pdu.sequence == 0:
            self._end(f"the SMSC lost the thread: generic_nack {status_text(status)}", events)

    def _responded(self, pdu: Pdu, events: list[Event]) -> None:
        """Responses other than to submit_sm; those to enquire_link need nothing done."""
        if pdu.sequence != self._own_sequence:
            return
        if self.state is State.BINDING and pdu.command == self._mode.value | RESPONSE:
            if pdu.status != Status.ESME_ROK:
                self._refuse(pdu.status, events)
                return
            self.state = State.BOUND
            self._deadline = inf
            events.append(Bound(*decode_bind_answer(pdu.body)))
        elif self.state is State.UNBINDING and pdu.command == Command.UNBIND | RESPONSE:
            self.state = State.ENDED
            self._deadline = inf
            events.append(Unbound())

    def _incoming_message(self, command: Command, pdu: Pdu, events: list[Event]) -> None:
        if self.state not in (State.BOUND, State.UNBINDING):
            self._respond(command, Status.ESME_RINVBNDSTS, pdu.sequence, b"\0")
            return
        if self._incoming >= MAX_INCOMING:
            self._respond(command, Status.ESME_RX_T_APPN, pdu.sequence, b"\0")
            return
        try:
            message = decode_short_message(command, pdu.body)
        except Malformed as problem:
            self._respond(command, problem.status, pdu.sequence, b"\0")
            return
        self._incoming += 1
        events.append(Incoming(pdu.sequence, command, message))

    def _request(self, command: int, body: bytes) -> int:
        self._sequence = self._sequence % MAX_SEQUENCE + 1
        while self._sequence in self._waiting:
            self._sequence = self._sequence % MAX_SEQUENCE + 1
        self._out.append(Pdu(command, 0, self._sequence, body).encode())
        return self._sequence

    def _respond(self, command: Command, status: int, sequence: int, body: bytes = b"") -> None:
        self._out.append(Pdu(command | RESPONSE, status, sequence, body).encode())

    def _refuse(self, status: int, events: list[Event]) -> None:
        self.state = State.ENDED
        self._deadline = inf
        events.append(Refused(status))

    def _end(self, text: str, events: list[Event]) -> None:
        self.state = State.ENDED
        self._deadline = inf
        events.append(Ended(text))

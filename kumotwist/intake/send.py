"""The send API without HTTP: one neutral message becomes a message for each recipient.

Each recipient's message is placed in the envelope (`send_address`), built
(`send_compose`) and shown to policy (`http_message_generated`, as with an
injection); then all of them become durable in one commit, are recorded and
queued. What is wrong with one recipient fails that recipient; the others go on.

Public: `Sending`, `SendResult`, `SentRecipient`. What can go wrong:
`RequestProblem` for a request that is wrong as a whole; `Overload`,
`SpoolUnhealthy` and `SpoolFull` when nothing of it was taken.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen
from msgspec import Struct
from twisted.internet.defer import CancelledError

from kumotwist.config.listener import TraceHeaders
from kumotwist.core.address import NULL_SENDER, EnvelopeAddress, parse_address
from kumotwist.core.errors import Overload, PolicyError, Rejection, ResolveError
from kumotwist.core.ids import IdGenerator
from kumotwist.core.interfaces import Gatekeeper, HttpPolicy
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.outcome import Peer
from kumotwist.core.schedule import Schedule
from kumotwist.intake.admission import Admission
from kumotwist.intake.inject import MAX_BATCH_OCTETS, MAX_ERROR, SLICE, Origin, turn
from kumotwist.intake.inject_request import RequestProblem, as_variables, field_problem
from kumotwist.intake.send_address import Placed, place
from kumotwist.intake.send_compose import SendComposer
from kumotwist.intake.send_request import Address, SendRequest, schedule_of
from kumotwist.net.clock import Clock
from kumotwist.proto.mime.trace import supplemental

_RECIPIENT_FAULTS: Final = (ValueError, Rejection, PolicyError, ResolveError)
#: Mail carries the header by which reports that come back are matched; the options are the listeners' defaults.
_TRACE: Final = TraceHeaders()


class SentRecipient(Struct):
    """What became of one recipient: the id of its message, or an error.

    `to` is the recipient as logs name it; as given when it could not be read.
    """

    to: str
    id: str | None = None
    error: str | None = None


class SendResult(Struct):
    """The reply; `recipients` in the order of the request."""

    accepted: int
    failed: int
    recipients: list[SentRecipient]


@frozen
class _Made:
    """A message on its way to the disk, its place in the request and its queue."""

    position: int
    message: Message
    queue: str


@define(eq=False)
class Sending:
    """Takes requests of the send API; one per worker."""

    policy: HttpPolicy
    admission: Admission
    gate: Gatekeeper
    ids: IdGenerator
    clock: Clock
    hostname: str

    async def send(self, request: SendRequest, origin: Origin, region: str | None) -> SendResult:
        """Make, save and queue the messages of `request`, which `send_request.decode` has judged.

        Numbers without `+` are of `region`. Returns when all that was accepted
        is on disk. Raises RequestProblem, Overload, SpoolUnhealthy, SpoolFull.
        """
        refusal = self.gate.refusal()
        if refusal is not None:
            raise Overload(refusal)
        return await _Run(self, request, origin, region).run()


@define(eq=False)
class _Run:
    """One request under way."""

    house: Sending
    request: SendRequest
    origin: Origin
    region: str | None
    sender: EnvelopeAddress = field(init=False)
    composer: SendComposer = field(init=False)
    schedule: Schedule | None = field(init=False)
    recipients: list[SentRecipient] = field(init=False)

    def __attrs_post_init__(self) -> None:
        request = self.request
        self.sender = _sender(request)
        self.composer = SendComposer(request, self.house.hostname)
        self.schedule = schedule_of(request, self.house.clock.seconds())
        self.recipients = [SentRecipient(_as_given(address)) for address in request.addresses]

    async def run(self) -> SendResult:
        """All recipients, in one batch."""
        batch: list[_Made] = []
        octets = 0
        for position, address in enumerate(self.request.addresses):
            if position % SLICE == SLICE - 1:
                await turn(self.house.clock)
            made = await self._make(position, address)
            if made is None:
                continue
            batch.append(made)
            octets += made.message.size
            if octets > MAX_BATCH_OCTETS:
                raise RequestProblem(413, f"Error: its messages have more than {MAX_BATCH_OCTETS} octets together")
        if batch:
            await self._take(batch)
        accepted = sum([one.id is not None for one in self.recipients])
        return SendResult(accepted, len(self.recipients) - accepted, self.recipients)

    async def _make(self, position: int, address: Address) -> _Made | None:
        """The message for one recipient, or None when it failed."""
        message: Message | None = None
        try:
            placed = place(address, self.region)
            self.recipients[position].to = placed.envelope.email
            message = self._message(placed, address.name)
            await self.house.policy.http_message_generated(message, self.origin.auth)
            (queue,) = await self.house.admission.resolve((message,))
        except _RECIPIENT_FAULTS as error:
            self._fail(position, error)
            if message is not None:
                message.release_body()
            return None
        if address.email is not None:
            header = supplemental(_TRACE, [one.email for one in message.recipients], message.meta)
            message.set_body(header + (message.body or b""))
        return _Made(position, message, queue)

    def _message(self, placed: Placed, name: str | None) -> Message:
        now = self.house.clock.seconds()
        spool_id = self.house.ids()
        body = self.composer.compose(placed.envelope, name, spool_id.hex(), now)
        message = Message(spool_id, self.sender, (placed.envelope,), self._meta(placed), body, now)
        if self.schedule is not None:
            message.set_schedule(self.schedule)
        return message

    def _meta(self, placed: Placed) -> JsonObject:
        """What the message's meta starts with; absent fields make no keys."""
        request = self.request
        meta = self.origin.meta(self.house.hostname)
        for key, text in (
            ("tenant", request.tenant),
            ("campaign", request.campaign),
            ("routing_domain", placed.routing_domain),
        ):
            if text is not None:
                meta[key] = text
        if placed.to is not None:
            meta["to"] = placed.to
        if request.from_.sms is not None:
            meta["from"] = {"sms": request.from_.sms}
        if request.data is not None:
            meta["data"] = as_variables(request.data)
        if request.metadata:
            meta["extra"] = as_variables(request.metadata)
        return meta

    async def _take(self, batch: list[_Made]) -> None:
        """Make all durable, then queue them."""
        messages = [made.message for made in batch]
        queues = [made.queue for made in batch]
        await self.house.admission.save(messages, queues)
        try:
            entered = await self.house.admission.enter(messages, queues, Peer("", self.origin.peer_address, ""), None)
        except CancelledError:
            raise
        except Exception as error:
            for made in batch:
                self._fail(made.position, error)
            return
        taken = {message.id for message in entered}
        for made in batch:
            if made.message.id in taken:
                self.recipients[made.position].id = made.message.id.hex()
            else:
                self._fail(made.position, Overload("cannot be queued"))

    def _fail(self, position: int, error: BaseException) -> None:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        self.recipients[position].error = lines[0][:MAX_ERROR]


def _sender(request: SendRequest) -> EnvelopeAddress:
    """The reverse path: the sender's mailbox, or the null path when there is none."""
    if not request.from_.email:
        return NULL_SENDER
    try:
        sender = parse_address(request.from_.email)
    except ValueError as error:
        raise field_problem("from.email", str(error)) from None
    if not sender.domain:
        raise field_problem("from.email", f"not a mailbox: {request.from_.email!r}")
    return sender


def _as_given(address: Address) -> str:
    """How an address that cannot be placed is named in the reply; a token or endpoint never shows."""
    return address.email or address.phone or ""

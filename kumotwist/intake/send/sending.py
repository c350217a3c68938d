"""The send API without HTTP: one neutral message becomes a message for each recipient.

Each recipient's message is placed in the envelope (`send.address`), built
(`send.compose`) and shown to policy (`http_message_generated`, as with an
injection); then all of them become durable in one commit, are recorded and
queued. What is wrong with one recipient fails that recipient; the others go on.

Public: `Sending`, `Prepared`. What can go wrong: `RequestProblem` for a
request that is wrong as a whole; `Overload`, `SpoolUnhealthy`, `SpoolFull` and
`StateUnavailable` when nothing of it was taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.listener import TraceHeaders
from kumotwist.core.address import NULL_SENDER, EnvelopeAddress, parse_address
from kumotwist.core.errors import Overload, PolicyError, Rejection, ResolveError, StateUnavailable
from kumotwist.core.ids import IdGenerator, SpoolId
from kumotwist.core.interfaces import Gatekeeper, HttpPolicy
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.schedule import Schedule
from kumotwist.intake.admission import Admission
from kumotwist.intake.http.batch import MAX_BATCH_OCTETS, SLICE, Made
from kumotwist.intake.http.origin import Origin
from kumotwist.intake.http.refusals import RequestProblem
from kumotwist.intake.inject.request import as_variables, field_problem
from kumotwist.intake.send.address import Placed, place
from kumotwist.intake.send.compose import SendComposer
from kumotwist.intake.send.idempotency import Reservation
from kumotwist.intake.send.request import Address, SendRequest, schedule_of
from kumotwist.intake.send.result import INTERRUPTED, SendResult, Told
from kumotwist.net.clock import Clock, sleep
from kumotwist.proto.mime.trace import supplemental

log: Final = Logger()

_RECIPIENT_FAULTS: Final = (ValueError, Rejection, PolicyError, ResolveError)
#: Mail carries the header by which reports that come back are matched; the options are the listeners' defaults.
_TRACE: Final = TraceHeaders()


@define(eq=False)
class Sending:
    """Takes requests of the send API; one per worker."""

    policy: HttpPolicy
    admission: Admission
    gate: Gatekeeper
    ids: IdGenerator
    clock: Clock
    hostname: str

    def prepare(self, request: SendRequest, origin: Origin, region: str | None) -> Prepared:
        """Judge `request`, which `request.decode` has read; numbers without `+` are of `region`.

        Raises RequestProblem, and Overload when nothing is taken now.
        """
        refusal = self.gate.refusal()
        if refusal is not None:
            raise Overload(refusal)
        return Prepared(self, request, origin, region)


@define(eq=False)
class Prepared:
    """One request that can be carried out, once."""

    house: Sending
    request: SendRequest
    origin: Origin
    region: str | None
    reservation: Reservation | None = field(default=None, init=False)
    is_saving: bool = field(default=False, init=False)
    _sender: EnvelopeAddress = field(init=False)
    _composer: SendComposer = field(init=False)
    _schedule: Schedule | None = field(init=False)
    _told: Told = field(init=False)

    def __attrs_post_init__(self) -> None:
        request = self.request
        self._sender = _sender(request)
        self._composer = SendComposer(request, self.house.hostname)
        self._schedule = schedule_of(request, self.house.clock.seconds())
        self._told = Told.about(request.addresses)

    async def send(self, reservation: Reservation | None = None) -> SendResult:
        """Make, save and queue the messages, in one batch; returns when all that was accepted is on disk.

        With a reservation they get its ids, and it has the answer before they
        are queued. `is_saving` tells whether an error leaves it open what is on
        disk. Raises RequestProblem, Overload, SpoolUnhealthy, SpoolFull,
        StateUnavailable.
        """
        self.reservation = reservation
        batch: list[Made] = []
        try:
            await self._fill(batch)
            if batch:
                await self._take(batch)
        except BaseException:
            if not self.is_saving:
                for made in batch:
                    made.message.release_body()
            raise
        return self._told.result()

    def interrupted(self, ids: Sequence[SpoolId | None]) -> SendResult:
        """The answer that this request would have had, when the process died over it; `ids` tell what was saved."""
        for position, (address, spool_id) in enumerate(zip(self.request.addresses, ids, strict=True)):
            if spool_id is None:
                self._told.fail(position, Overload(INTERRUPTED))
                continue
            self._told.accept(position, spool_id)
            # The default region may be another by now, and the number none of its own.
            with suppress(ValueError):
                self._told.name(position, place(address, self.region).envelope)
        return self._told.result()

    async def _fill(self, batch: list[Made]) -> None:
        """A message for each recipient that can have one."""
        octets = 0
        for position, address in enumerate(self.request.addresses):
            if position % SLICE == SLICE - 1:
                await sleep(self.house.clock, 0)
            made = await self._make(position, address)
            if made is None:
                continue
            batch.append(made)
            octets += made.message.size
            if octets > MAX_BATCH_OCTETS:
                raise RequestProblem(413, f"Error: its messages have more than {MAX_BATCH_OCTETS} octets together")

    async def _make(self, position: int, address: Address) -> Made | None:
        """The message for one recipient, or None when it failed."""
        message: Message | None = None
        try:
            placed = place(address, self.region)
            self._told.name(position, placed.envelope)
            message = self._message(position, placed, address.name)
            await self.house.policy.http_message_generated(message, self.origin.auth)
            (queue,) = await self.house.admission.resolve((message,))
        except _RECIPIENT_FAULTS as error:
            self._told.fail(position, error)
            if message is not None:
                message.release_body()
            return None
        if address.email is not None:
            header = supplemental(_TRACE, [one.email for one in message.recipients], message.meta)
            message.set_body(header + (message.body or b""))
        return Made(position, message, queue)

    def _message(self, position: int, placed: Placed, name: str | None) -> Message:
        now = self.house.clock.seconds()
        spool_id = self.reservation.ids[position] if self.reservation is not None else self.house.ids()
        body = self._composer.compose(placed.envelope, name, spool_id.hex(), now)
        message = Message(spool_id, self._sender, (placed.envelope,), self._meta(placed), body, now)
        if self._schedule is not None:
            message.set_schedule(self._schedule)
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

    async def _take(self, batch: list[Made]) -> None:
        """Make all durable, remember the answer, then queue them."""
        messages = [made.message for made in batch]
        queues = [made.queue for made in batch]
        self.is_saving = True
        try:
            await self.house.admission.save(messages, queues)
        except Overload:
            self.is_saving = False
            raise
        for made in batch:
            self._told.accept(made.position, made.message.id)
        if self.reservation is not None:
            await self._remember(self.reservation, messages)
        try:
            entered = await self.house.admission.enter(messages, queues, self.origin.peer, None)
        except CancelledError:
            raise
        except Exception as error:
            await self._take_back(batch, error)
            return
        taken = {message.id for message in entered}
        refused = [made for made in batch if made.message.id not in taken]
        if refused:
            await self._take_back(refused, Overload("cannot be queued"))

    async def _remember(self, reservation: Reservation, messages: Sequence[Message]) -> None:
        """Only what has its answer remembered may be queued: a message that has left is no proof of having come."""
        try:
            await reservation.finish(msgspec.json.encode(self._told.result()))
        except (StateUnavailable, Overload):
            self.house.admission.forget(messages)
            raise

    async def _take_back(self, refused: Sequence[Made], error: BaseException) -> None:
        """What the queue refused after all, which the log has as bounced."""
        for made in refused:
            self._told.fail(made.position, error)
        if self.reservation is None:
            return
        try:
            await self.reservation.finish(msgspec.json.encode(self._told.result()))
        except (StateUnavailable, Overload) as problem:
            log.error(
                "a repeated request will hear of {count} bounces as accepted: {error}",
                count=len(refused),
                error=problem,
            )


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

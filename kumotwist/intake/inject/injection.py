"""HTTP injection without HTTP: from a request to messages in the queue.

For each recipient a message is composed, shown to policy
(`http_message_generated`) and given its trace headers; then all of them become
durable in one commit, are recorded and queued. What is wrong with one
recipient counts that recipient failed; the others go on.

Public: `Injection`, `InjectResult`, `GENERATOR_QUEUE`. What can go wrong:
`RequestProblem` for a request that is wrong as a whole; `Overload`,
`SpoolUnhealthy` and `SpoolFull` when nothing of it could be taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, field
from msgspec import Struct, structs
from twisted.internet.defer import CancelledError

from kumotwist.config.listener import TraceHeaders
from kumotwist.core.address import NULL_SENDER, EnvelopeAddress, parse_address
from kumotwist.core.errors import Overload, PolicyError, Rejection, ResolveError, SpoolFull, SpoolUnhealthy
from kumotwist.core.ids import IdGenerator
from kumotwist.core.interfaces import Gatekeeper, HttpPolicy
from kumotwist.core.message import Message
from kumotwist.intake.admission import NULL_QUEUE, Admission
from kumotwist.intake.http.batch import MAX_BATCH_OCTETS, SLICE, Made, told
from kumotwist.intake.http.origin import Origin
from kumotwist.intake.http.refusals import RequestProblem
from kumotwist.intake.inject.compose import Composer
from kumotwist.intake.inject.request import InjectRequest, Recipient, as_variables, encode
from kumotwist.intake.inject.template import TemplateProblem, Templates
from kumotwist.net.clock import Clock, sleep
from kumotwist.proto.mime.encode import date_time
from kumotwist.proto.mime.trace import supplemental

#: KumoMTA's queue of requests whose messages are generated later.
GENERATOR_QUEUE: Final = "generator.kumomta.internal"
#: One commit covers so many messages of one request. Ours: a request for more, or for more than `MAX_BATCH_OCTETS`,
#: is taken in several.
MAX_BATCH: Final = 1000

_RECIPIENT_FAULTS: Final = (ValueError, TemplateProblem, RequestProblem, Rejection, PolicyError, ResolveError)


class InjectResult(Struct):
    """The reply: KumoMTA's four fields, and `ids`, ours: the message id of each recipient, null where it failed."""

    success_count: int = 0
    fail_count: int = 0
    failed_recipients: list[str] = []
    errors: list[str] = []
    ids: list[str | None] = []

    def fail(self, email: str, error: BaseException) -> None:
        """Count `email` failed."""
        self.fail_count += 1
        self.failed_recipients.append(email)
        self.errors.append(f"{email}: {told(error)}")

    def succeed(self, position: int, message: Message) -> None:
        """Count the recipient at `position` of the request accepted."""
        self.success_count += 1
        self.ids[position] = message.id.hex()


@define(eq=False)
class Injection:
    """Takes injection requests; one per worker."""

    policy: HttpPolicy
    admission: Admission
    gate: Gatekeeper
    ids: IdGenerator
    clock: Clock
    hostname: str
    #: Whether somebody delivers the generator queue (`intake.inject.generator`); otherwise nothing is deferred.
    can_defer: bool = False
    templates: Templates = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.templates = Templates(self.clock.seconds)

    async def inject(self, request: InjectRequest, origin: Origin) -> InjectResult:
        """Make, save and queue the messages of `request`, which `request.check` has judged.

        Returns when all that was accepted is on disk. With `deferred_generation`
        the request is what is saved, and the counts are 0. Raises
        RequestProblem, Overload, SpoolUnhealthy, SpoolFull.
        """
        refusal = self.gate.refusal()
        if refusal is not None:
            raise Overload(refusal)
        try:
            sender = parse_address(request.envelope_sender)
        except ValueError as error:
            raise RequestProblem(500, f"Error: envelope_sender: {error}") from None
        self.templates.trim()
        composer = Composer(request, self.templates, self.hostname)
        if request.deferred_generation and self.can_defer:
            return await self._defer(request, sender, origin)
        result = await _Run(self, request, sender, origin, composer).run()
        return InjectResult() if request.deferred_generation else result

    async def _defer(self, request: InjectRequest, sender: EnvelopeAddress, origin: Origin) -> InjectResult:
        body = encode(structs.replace(request, deferred_generation=False))
        meta = origin.meta(self.hostname)
        meta["auth_info"] = origin.auth.to_json()
        meta["queue"] = GENERATOR_QUEUE
        message = Message(self.ids(), sender, (NULL_SENDER,), meta, body)
        message.due = self.clock.seconds()
        try:
            await self.admission.accept((message,), origin.peer, None)
        except (PolicyError, ResolveError) as error:
            raise RequestProblem(500, f"Error: {error}") from None
        return InjectResult()


@define(eq=False)
class _Run:
    """One request under way."""

    house: Injection
    request: InjectRequest
    sender: EnvelopeAddress
    origin: Origin
    composer: Composer
    trace: TraceHeaders = field(init=False)
    result: InjectResult = field(init=False)

    def __attrs_post_init__(self) -> None:
        given = self.request.trace_headers
        self.trace = TraceHeaders(
            received_header=given.received_header,
            supplemental_header=given.supplemental_header,
            header_name=given.header_name,
            include_meta_names=tuple(given.include_meta_names),
        )
        self.result = InjectResult(ids=[None] * len(self.request.recipients))

    async def run(self) -> InjectResult:
        """All recipients, batch by batch."""
        batch: list[Made] = []
        octets = 0
        for position, recipient in enumerate(self.request.recipients):
            if position % SLICE == SLICE - 1:
                await sleep(self.house.clock, 0)
            made = await self._make(position, recipient)
            if made is None:
                continue
            batch.append(made)
            octets += made.message.size
            if len(batch) >= MAX_BATCH or octets >= MAX_BATCH_OCTETS:
                await self._take(batch)
                batch, octets = [], 0
        if batch:
            await self._take(batch)
        return self.result

    async def _make(self, position: int, recipient: Recipient) -> Made | None:
        """The message for one recipient, or None when there is nothing to save for it."""
        message: Message | None = None
        try:
            message = self._message(recipient)
            await self.house.policy.http_message_generated(message, self.origin.auth)
            (queue,) = await self.house.admission.resolve((message,))
        except _RECIPIENT_FAULTS as error:
            self.result.fail(recipient.email, error)
            if message is not None:
                message.release_body()
            return None
        if queue == NULL_QUEUE:
            self.result.succeed(position, message)
            message.release_body()
            return None
        if self.trace.supplemental_header:
            header = supplemental(self.trace, [one.email for one in message.recipients], message.meta)
            message.set_body(header + (message.body or b""))
        return Made(position, message, queue)

    def _message(self, recipient: Recipient) -> Message:
        try:
            address = parse_address(recipient.email)
        except ValueError as error:
            raise ValueError(f"recipient email {recipient.email}: {error}") from None
        if not address.domain:
            raise ValueError(f"recipient email {recipient.email!r}: not a mailbox")
        now = self.house.clock.seconds()
        spool_id = self.house.ids()
        body = self.composer.compose(recipient, spool_id.hex(), now)
        if self.trace.received_header:
            body = self._received_header(spool_id.hex(), recipient, now) + body
        meta = self.origin.meta(self.house.hostname)
        if recipient.metadata:
            meta["extra"] = as_variables(recipient.metadata)
        return Message(spool_id, self.sender, (address,), meta, body, now)

    def _received_header(self, spool_id: str, recipient: Recipient, now: float) -> bytes:
        return (
            f"Received: from {self.sender.domain or 'unspecified'} ({self.origin.peer_address})\r\n"
            f"  by {self.house.hostname} (KumoMTA)\r\n"
            f"  with HTTP id {spool_id} for <{recipient.email}>;\r\n"
            f"  {date_time(int(now))}\r\n"
        ).encode()

    async def _take(self, batch: Sequence[Made]) -> None:
        """Make a batch durable and queue it."""
        messages = [made.message for made in batch]
        queues = [made.queue for made in batch]
        try:
            await self.house.admission.save(messages, queues)
        except (Overload, SpoolUnhealthy, SpoolFull) as error:
            if not self.result.success_count:
                raise
            # Part of the request is taken already: a 503 would have all of it sent again.
            self._refuse(batch, error)
            return
        try:
            entered = await self.house.admission.enter(messages, queues, self.origin.peer, None)
        except CancelledError:
            raise
        except Exception as error:
            self._refuse(batch, error)
            return
        self._count(batch, {message.id for message in entered})

    def _count(self, batch: Sequence[Made], entered: set[bytes]) -> None:
        for made in batch:
            if made.message.id in entered:
                self.result.succeed(made.position, made.message)
            else:
                self.result.fail(self.request.recipients[made.position].email, Overload("cannot be queued"))

    def _refuse(self, batch: Sequence[Made], error: BaseException) -> None:
        for made in batch:
            self.result.fail(self.request.recipients[made.position].email, error)

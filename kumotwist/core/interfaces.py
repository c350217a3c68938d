"""Contracts between packages: what a lower package needs from a higher one.

`service.worker` fills them in through constructors. Every `async` method here
may be cancelled unless it says otherwise; most return without suspending, so
awaiting them costs next to nothing.

Over 400 lines, since it is one list, and who wants a contract looks in one place.

Time that a method takes or returns is in float seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from attrs import field, frozen

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.connection import AuthInfo, ConnectionMeta, Identity
from kumotwist.core.ids import SpoolId
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.origin import Origin
from kumotwist.core.outcome import Outcome
from kumotwist.core.queuename import QueueName
from kumotwist.core.receipt import Heard, ReceiptEvent
from kumotwist.core.records import Record
from kumotwist.core.sms import IncomingSms
from kumotwist.core.way import Way

if TYPE_CHECKING:
    from kumotwist.config.acl import AccessControlList, AccessDecision
    from kumotwist.config.egress import PathConfig, PoolConfig, SourceConfig
    from kumotwist.config.keysource import KeySource
    from kumotwist.config.listener import ListenerDomain
    from kumotwist.config.queue import QueueConfig
    from kumotwist.config.routes import RouteTableConfig
    from kumotwist.core.units import Limit, Throttle


# -- durable messages ---------------------------------------------------------------------------


class MessageStore(Protocol):
    """Messages on disk. Implemented by `spool`, on RocksDB and in memory."""

    @property
    def is_healthy(self) -> bool:
        """False after a failed write: nothing may be accepted any more."""
        ...

    async def save(self, messages: Sequence[Message]) -> None:
        """Write what is dirty of all `messages`, and return when it is on disk.

        Clears their dirty marks. Never cancelled half-way: a message is there
        whole or not at all. Raises SpoolUnhealthy, SpoolFull.
        """
        ...

    async def save_meta_later(self, message: Message) -> None:
        """Note changed meta, `due` and `attempts`; it reaches the disk with the next sync."""
        ...

    def remove(self, spool_id: SpoolId) -> None:
        """Forget a message; reaches the disk with the next sync. Unknown ids are ignored."""
        ...

    def set_aside(self, message: Message, why: str) -> str | None:
        """Keep a message that is given up as files for the operator; where, or None when that failed or is not done."""
        ...

    async def load(self, spool_ids: Sequence[SpoolId]) -> Sequence[Message | None]:
        """The messages with their bodies, None where there is none, in the order asked for."""
        ...

    async def load_body(self, message: Message) -> bytes:
        """The body, which is also put back into `message`. Raises SpoolCorrupt when it is gone."""
        ...

    def enumerate(self) -> AsyncIterator[Sequence[Message]]:
        """All messages that were there at start, in batches, without bodies."""
        ...

    async def close(self) -> None:
        """Write and sync everything and let go of the files."""
        ...


# -- policy ---------------------------------------------------------------------------------------


class QueuePolicy(Protocol):
    """What the queue manager asks of policy. Every method may raise PolicyError."""

    @property
    def epoch(self) -> int:
        """Grows each time the policy was loaded anew."""
        ...

    async def queue_config(self, name: QueueName) -> QueueConfig: ...

    async def egress_pool(self, name: str) -> PoolConfig: ...

    async def egress_source(self, name: str) -> SourceConfig: ...

    async def egress_path(self, domain: str, source: str, site: str) -> PathConfig: ...

    async def route_table(self, name: str) -> RouteTableConfig: ...

    async def throttle_insert_ready_queue(self, message: Message) -> None:
        """May move `message.due` into the future."""
        ...

    async def requeue_message(
        self, message: Message, response: str, reasons: Sequence[str], increment_attempts: bool, delay: float | None
    ) -> None:
        """May edit the message. Raises Rejection to have it bounced."""
        ...

    async def rewrite_delivery_status(self, response: str, name: QueueName) -> int | None:
        """A new code for a peer's refusal, or None to keep it."""
        ...

    async def spool_message_enumerated(self, message: Message) -> None: ...


class LuaConnection(Protocol):
    """One open `custom_lua` connection: the object that its constructor returned."""

    async def send(self, messages: Sequence[Message], batched: bool) -> str:
        """Call `send` (one message) or, when `batched`, `send_batch`; the disposition text.

        Raises Rejection when policy called kumo.reject, PolicyError for the rest.
        """
        ...

    async def close(self) -> None: ...


class LuaConnector(Protocol):
    """Opens `custom_lua` connections."""

    async def connect(self, constructor: str, name: QueueName) -> LuaConnection:
        """Run the constructor event. Raises PolicyError or Rejection."""
        ...


class SmtpPolicy(Protocol):
    """What SMTP intake asks of policy. Every method may raise Rejection or PolicyError.

    A method whose event has no handler answers at once, as if policy had no
    opinion; `handles` lets the hot path skip even that.
    """

    def handles(self, event: str) -> bool:
        """Whether policy has a handler for the KumoMTA event of that name."""
        ...

    async def smtp_server_get_dynamic_parameters(self, listener: str, conn: ConnectionMeta) -> JsonObject | None:
        """Overrides of the listener's options for this connection."""
        ...

    async def smtp_server_connection_accepted(self, conn: ConnectionMeta) -> None: ...

    async def smtp_server_ehlo(
        self, domain: str, conn: ConnectionMeta, extensions: Sequence[str] | None
    ) -> Sequence[str] | None:
        """`extensions` is None for HELO. The list to offer instead, or None."""
        ...

    async def smtp_server_auth_plain(
        self, authz: str, authc: str, password: str, conn: ConnectionMeta
    ) -> AuthInfo | bool: ...

    async def smtp_server_mail_from(self, sender: EnvelopeAddress, conn: ConnectionMeta) -> None: ...

    async def get_listener_domain(self, domain: str, listener: str, conn: ConnectionMeta) -> ListenerDomain | None: ...

    async def smtp_server_rcpt_to(self, recipient: EnvelopeAddress, conn: ConnectionMeta) -> None: ...

    async def smtp_server_data(self, message: Message, conn: ConnectionMeta) -> None: ...

    async def smtp_server_split_transaction(
        self, message: Message, conn: ConnectionMeta
    ) -> Sequence[Sequence[EnvelopeAddress]] | None: ...

    async def smtp_server_message_received(self, message: Message, conn: ConnectionMeta) -> None: ...

    async def smtp_server_rewrite_response(
        self, code: int, text: str, command: str | None, conn: ConnectionMeta
    ) -> tuple[int | None, str | None]:
        """Errors and rejections are logged and ignored: never raises."""
        ...


class HttpPolicy(Protocol):
    """What HTTP intake and the HTTP API ask of policy. Errors are Rejection or PolicyError."""

    async def http_server_validate_auth_basic(self, user: str, password: str | None) -> AuthInfo | bool: ...

    async def http_message_generated(self, message: Message, auth: AuthInfo) -> None: ...

    async def get_acl_definition(self, resource: str) -> AccessControlList | None:
        """The rules for exactly this resource, or None when policy has no opinion."""
        ...


class SmsPolicy(Protocol):
    """What intake of text messages asks of policy."""

    def handles(self, event: str) -> bool:
        """Whether policy has a handler for the event."""
        ...

    async def sms_received(self, message: Message) -> None:
        """The handler may inject `message`. Raises Rejection or PolicyError."""
        ...


class RecordPolicy(Protocol):
    """What log files and log hooks ask of policy. Errors are PolicyError."""

    async def should_enqueue_log_record(self, message: Message, hook_name: str) -> bool: ...

    async def filter_record(self, event: str, message: Message) -> bool: ...


# -- records --------------------------------------------------------------------------------------


class Recorder(Protocol):
    """Takes log records. Implemented by `records`."""

    async def record(self, record: Record) -> None:
        """Write one record and run its hooks; waits only for hooks that store messages. Never raises."""
        ...


class ReceiptSink(Protocol):
    """Takes what providers report later. Implemented by `records.receipts`."""

    async def receive(self, events: Sequence[ReceiptEvent]) -> None:
        """Note all `events`, and return when they are on disk; whom they belong to is found afterwards.

        An event that was noted before is passed over. Raises
        StateUnavailable, Overload: nothing was noted, the provider is to send it again.
        """
        ...


class ReceiptWatch(Protocol):
    """What receipts have said of messages that wait for them. Implemented by `records.receipts`."""

    def expect(self, spool_id: SpoolId) -> None:
        """From now on `news` names the message when there is a receipt, also one that is there already. Never raises.

        Forgotten when the process ends; `heard` is not.
        """
        ...

    def forget(self, spool_id: SpoolId) -> None:
        """The message waits no longer. Never raises."""
        ...

    async def news(self) -> Sequence[SpoolId]:
        """Expected messages about which something was heard since the last time. Never raises."""
        ...

    async def heard(self, spool_id: SpoolId) -> Sequence[Heard]:
        """Everything that receipts have said of a message, whichever worker took them.

        Of the parts of an SMS only what it says of the whole. Raises StateUnavailable, Overload.
        """
        ...


class ReportDesk(Protocol):
    """Takes bounces and complaints that come by mail. Implemented by `records.receipts`."""

    async def hear(self, origin: Origin, event: ReceiptEvent) -> Way | None:
        """The way by which the message had gone that a report returns; None when no route table sent it that we know.

        What the report says is learned, once. Never raises.
        """
        ...


class SmsReceiver(Protocol):
    """Takes text messages that come in over a channel's own connections. Implemented by `intake.sms`."""

    async def receive(self, sms: IncomingSms) -> None:
        """Have policy see it, and return when it is in safe hands.

        Raises Rejection when policy does not want it, and what storing a
        message raises: the provider is to send it again then.
        """
        ...


class Auditor(Protocol):
    """Takes note of who proved to be whom, and who was allowed what. Implemented by `records`."""

    async def authentication(self, attempted: Identity, success: bool, auth: AuthInfo) -> None:
        """Somebody tried to prove to be `attempted`; `auth` is what they were taken for then. Never raises."""
        ...

    async def authorization(self, decision: AccessDecision, auth: AuthInfo) -> None:
        """Whether `auth` may do something was decided. Never raises."""
        ...


# -- queue ----------------------------------------------------------------------------------------


class QueueManager(Protocol):
    """The queue as others see it."""

    async def resolve(self, queue_name: str) -> None:
        """Make sure that the queue can be made. Raises PolicyError or ResolveError."""
        ...

    async def insert(self, message: Message) -> None:
        """Take over a message that the store has; it goes out when due."""
        ...


class Injector(Protocol):
    """Takes new messages on behalf of the house itself: log hooks, `kumo.inject_message`."""

    async def inject(self, message: Message) -> None:
        """Save it and hand it to the queue. Raises SpoolUnhealthy, SpoolFull, Overload."""
        ...


# -- limits ---------------------------------------------------------------------------------------


class Lease(Protocol):
    """A held slot of a named limit; give it back with `release`."""

    def release(self) -> None: ...


class Rates(Protocol):
    """Events that may pass in a while, counted for the whole machine."""

    async def throttle(self, key: str, spec: Throttle) -> float:
        """Take one event of `spec` under `key`: 0.0 when it may pass, else whole seconds to wait."""
        ...

    async def until_full(self, key: str, spec: Throttle) -> float:
        """Seconds until the whole burst of `spec` may pass again; takes nothing."""
        ...


@frozen
class Event:
    """One event of the rate `spec` under `key`.

    When anybody is in line for it, which `has_line` says of those known to whoever asks, it takes only what has been
    free for `behind` seconds.
    """

    key: str
    spec: Throttle
    behind: float = field(default=0.0, eq=False)
    has_line: bool = field(default=False, eq=False)


@frozen
class NoRoom:
    """One of the events that were asked for, by position, and the whole seconds until there is room for it.

    0.0 when there is, but not yet for so long as it must have been.
    """

    position: int
    wait: float


#: One in line for a rate: by when it came, in Unix seconds, then by its message's id.
Waiter: TypeAlias = tuple[float, SpoolId]


@frozen
class Ask:
    """What a worker asks of the line for one rate: who of its own may go.

    It tells who `joined` and `left` since it asked last, and names the first of those that it has in `line`.
    """

    key: str
    spec: Throttle
    joined: Sequence[Waiter]
    left: Sequence[Waiter]
    line: Sequence[Waiter]


@frozen
class Deal:
    """Who of the worker's own is called, and from when on (Unix seconds); when to ask again.

    `others` is about how many of other workers are in line.
    """

    called: Sequence[tuple[Waiter, float]]
    others: int
    again_at: float


class Budgeting(Protocol):
    """Rates of which an event takes several at a time, and the lines of those that wait for room in them."""

    async def take_all(self, events: Sequence[Event], leaves: tuple[str, Waiter] | None = None) -> tuple[NoRoom, ...]:
        """Take them all, or nothing when there is no room for some, which these are. Raises StateUnavailable.

        Whoever takes them `leaves` the line of that key, if it is in one.
        """
        ...

    async def deal(self, asks: Sequence[Ask]) -> Sequence[Deal]:
        """An answer to each. To be asked once a second while anybody is in line. Raises StateUnavailable, Overload."""
        ...

    async def until_full(self, key: str, spec: Throttle) -> float:
        """As of `Rates`."""
        ...


class Limits(Rates, Protocol):
    """Rates and counts that hold for the whole machine."""

    async def acquire(self, key: str, limit: Limit, waits: bool = False) -> Lease | None:
        """Take one of `limit` slots under `key`, or None when all are taken.

        `waits`: whoever is refused asks again every second; all who do take turns.
        """
        ...


# -- secrets --------------------------------------------------------------------------------------


class KeyLoader(Protocol):
    """Turns a key source into bytes."""

    async def load(self, source: KeySource) -> bytes:
        """The secret. Raises SecretUnavailable; the value is never part of the message."""
        ...

    async def refresh(self, source: KeySource) -> bytes:
        """The same, read anew past any cache: what we had was refused. Raises SecretUnavailable."""
        ...


# -- channels -------------------------------------------------------------------------------------


@frozen(kw_only=True)
class OpenRequest:
    """What a channel gets to open a session for a ready queue.

    `queue_name` is some scheduled queue that feeds it: representative only.
    """

    queue_name: QueueName
    site: str
    source: SourceConfig
    path: PathConfig


class Session(Protocol):
    """One connection of a channel, used by one dispatcher at a time."""

    @property
    def max_batch(self) -> int:
        """The most messages for one `deliver`."""
        ...

    @property
    def min_batch(self) -> int:
        """Wait for so many, but no longer than `batch_latency`."""
        ...

    @property
    def batch_latency(self) -> float: ...

    @property
    def is_connected(self) -> bool:
        """Whether `deliver` may be called; False before `connect` and after the peer went away."""
        ...

    async def connect(self) -> None:
        """Connect, or reconnect to the next candidate.

        Raises ConnectFailed when there is none, SessionEnded when there is
        none left but some message was attempted.
        """
        ...

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """Attempt each message; one outcome per recipient, by position. Bodies are in memory.

        Expected failures are outcomes. An outcome of scope SESSION means that
        the session disconnected.
        """
        ...

    async def close(self) -> None:
        """End politely, within a bound. Never raises."""
        ...


class Channel(Protocol):
    """A way out. Stateless: sessions hold the connections."""

    @property
    def protocol_name(self) -> str:
        """The part behind `@` in ready queue names: `smtp_client`, `lua:make.sendgrid`, ..."""
        ...

    @property
    def delivers_at_once(self) -> bool:
        """True when messages skip the ready queue and its limits (maildir, null)."""
        ...

    async def site_name(self, domain: str) -> str:
        """The site that serves `domain` (a routing domain or recipient domain). Raises ResolveError."""
        ...

    def open(self, request: OpenRequest) -> Session:
        """A session that is not yet connected."""
        ...


class Witness(Protocol):
    """Remembers, beyond the end of the process, what policy has in hand."""

    def begin(self, event: str, messages: Sequence[Message]) -> None:
        """Policy is about to run for `messages`, which the spool has."""
        ...

    def end(self) -> None:
        """It has returned."""
        ...


class Room(Protocol):
    """Knows how much more may be written to disk."""

    def take(self, octets: int) -> None:
        """Count a message of that size, which is about to be written. Raises SpoolFull when it has no room."""
        ...

    def written(self, octets: int) -> None:
        """It is on disk, or will never be."""
        ...

    def may_write(self, octets: int) -> bool:
        """Whether there is room for so much that can also wait; counted if so."""
        ...


class Gatekeeper(Protocol):
    """Knows whether new messages can be taken."""

    def refusal(self) -> str | None:
        """Why not, as text for 421 or 503 (`load shedding`, `disk is too full`), or None."""
        ...

"""Dispatchers: each empties a ready queue over one session of its channel.

A dispatcher leases its connection, takes messages in batches, connects when
there is something to send, delivers, has the outcomes settled, and takes the
next without a turn through the reactor. It ends when nothing comes for the
idle timeout, when the connection has carried enough messages, or when a
connection cannot be had.

Public: `Dispatcher`, `Means`, `watchdog_timeout`. What can go wrong: any error
out of a channel is logged and makes a transient failure; a session without
progress is ended by its owner, and its messages go back uncharged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kumotwist.config.egress import PathConfig
from kumotwist.core.errors import ConnectFailed, SessionEnded, SpoolCorrupt
from kumotwist.core.interfaces import Lease, Limits, MessageStore, OpenRequest, Session
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.records import RecordType
from kumotwist.core.response import Response, internal
from kumotwist.core.stats import Histogram
from kumotwist.net.clock import Clock, sleep
from kumotwist.queue import reasons as why
from kumotwist.queue.ledger import Ledger, Leg
from kumotwist.queue.ready import Item, ReadyQueue
from kumotwist.queue.requeue import Requeuer
from kumotwist.queue.settle import Settler

log: Final = Logger()

#: Seconds between tries for a connection slot that others hold. Ours.
_LEASE_POLL: Final = 1.0
#: A session is given up no sooner than this without progress (KumoMTA).
_MIN_WATCHDOG: Final = 60.0
#: The same while it connects, which may take the timeouts of many hosts. Ours.
_CONNECT_WATCHDOG: Final = 3600.0
#: Messages put back between two turns of the reactor. Ours: a few milliseconds' work.
_SLICE: Final = 64

_NEVER: Final = float("inf")
_TOO_MANY_FAILURES: Final = Outcome(
    Verdict.TRANSIENT,
    Response.parse(
        451,
        "4.4.1 bulk delay of ready queue: too many successive connection failures "
        "where there was no answer from any hosts listed in MX",
    ),
    Scope.SITE,
)


@frozen
class Means:
    """What all dispatchers work with; `latency` times deliveries per protocol."""

    store: MessageStore
    limits: Limits
    settler: Settler
    requeuer: Requeuer
    ledger: Ledger
    clock: Clock
    latency: dict[str, Histogram]


def watchdog_timeout(path: PathConfig, messages: Sequence[Message]) -> float:
    """Seconds after which the delivery of `messages` is given up: so long for each transaction that it may take."""
    timeout: float | None = path.dispatcher_progress_watchdog_timeout
    if timeout is None:
        longest = max(path.mail_from_timeout, path.rcpt_to_timeout, path.data_timeout, path.data_dot_timeout)
        timeout = max(2 * longest, _MIN_WATCHDOG)
    further = sum([len(message.recipients) // path.max_recipients_per_batch for message in messages])
    return timeout * (1 + further)


def lease_time(path: PathConfig) -> float:
    """Seconds to wait for a connection slot: as long as all of a client's timeouts together (KumoMTA)."""
    return (
        path.connect_timeout
        + path.banner_timeout
        + path.ehlo_timeout
        + path.auth_timeout
        + path.starttls_timeout
        + path.mail_from_timeout
        + path.rcpt_to_timeout
        + path.data_timeout
        + path.data_dot_timeout
        + path.idle_timeout
        + path.rset_timeout
    )


class Dispatcher:
    """One session of one ready queue; `run` is all of its life.

    Its owner reads: `ends_at`, the time to call it off, idle for too long or
    busy without progress; `is_delivering`, while messages are on the wire or
    being settled; `is_productive`, whether it ever had anything to send. It
    sets `is_overdue` before it cancels for want of progress, `is_stopping` to
    have no further message taken, and `work`, which ends when `run` does.
    """

    __slots__ = (
        "_attempted", "_carried", "_hand", "_latency", "_leases", "_means", "_session", "_wake", "ends_at",
        "is_delivering", "is_overdue", "is_productive", "is_stopping", "ready", "work",
    )  # fmt: skip

    def __init__(self, ready: ReadyQueue, means: Means) -> None:
        self.ready = ready
        self.ends_at = _NEVER
        self.is_delivering = self.is_overdue = self.is_productive = self.is_stopping = False
        self.work: Deferred[None] | None = None
        self._means = means
        self._latency = means.latency.setdefault(ready.channel.protocol_name, Histogram())
        self._hand: list[Item] = []
        self._session: Session | None = None
        self._leases: list[Lease] = []
        self._wake: Deferred[bool] | None = None
        #: Messages over this connection, and whether any was attempted in this session.
        self._carried = 0
        self._attempted = False

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for a message."""
        return self._wake is not None

    @property
    def is_connected(self) -> bool:
        """Whether its connection is open."""
        return self._session is not None and self._session.is_connected

    @property
    def in_hand(self) -> int:
        """How many messages it has taken and not settled."""
        return len(self._hand)

    def awaken(self, has_message: bool) -> None:
        """End its wait for a message: there is one, or it should not wait any longer."""
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.callback(has_message)

    async def run(self) -> None:
        """Serve the ready queue until there is a reason to end; raises nothing but CancelledError."""
        try:
            if await self._lease():
                while await self._serve_once():
                    pass
        except CancelledError:
            if self.is_overdue:
                await self._give_up_hand()
            raise
        finally:
            self.ends_at = _NEVER
            self.ready.put_back(self._hand)
            self._hand = []
            self._release()
            if self._session is not None:
                await self._session.close()

    async def _serve_once(self) -> bool:
        """One batch; False when the session is to end."""
        ready = self.ready
        if self.is_stopping or (not ready.messages and not await self._wait(ready.path.idle_timeout)):
            return False
        if self.is_stopping or len(ready.dispatchers) > ready.path.connection_limit.limit:
            return False
        session = self._session
        if session is None:
            session = self._session = ready.channel.open(
                OpenRequest(queue_name=ready.queue_name, site=ready.site, source=ready.source, path=ready.path)
            )
        await self._fill_hand(session)
        if not self._hand:
            return not self.is_stopping
        if not session.is_connected and not await self._connect(session):
            return False
        return await self._deliver(session) and self._carried < ready.path.max_deliveries_per_connection

    # -- the connection slot ----------------------------------------------------------------------

    async def _lease(self) -> bool:
        """Hold a slot of every connection limit, all or none; False when none came free in time."""
        clock, path = self._means.clock, self.ready.path
        deadline = clock.seconds() + lease_time(path)
        while not await self._lease_all():
            if clock.seconds() >= deadline or not self.ready.messages:
                return False
            await sleep(clock, _LEASE_POLL)
        return True

    async def _lease_all(self) -> bool:
        for key, limit in self.ready.limits:
            lease = await self._means.limits.acquire(key, limit)
            if lease is None:
                self._release()
                return False
            self._leases.append(lease)
        return True

    def _release(self) -> None:
        for lease in self._leases:
            lease.release()
        self._leases.clear()

    # -- taking messages --------------------------------------------------------------------------

    async def _wait(self, seconds: float, precisely: bool = False) -> bool:
        """Whether a message came within so long; to the second unless `precisely`."""
        clock = self._means.clock
        wake: Deferred[bool] = Deferred()
        self._wake = wake
        self.ready.idle.append(self)
        self.ends_at = _NEVER if precisely else clock.seconds() + seconds
        timer = clock.callLater(seconds, self.awaken, False) if precisely else None
        try:
            return await wake
        finally:
            self._wake = None
            self.ends_at = _NEVER
            if self in self.ready.idle:
                self.ready.idle.remove(self)
            if timer is not None and timer.active():
                timer.cancel()

    async def _fill_hand(self, session: Session) -> None:
        """Take what one delivery may carry, waiting for a worthwhile batch if the channel wants one."""
        ready, hand, most = self.ready, self._hand, session.max_batch
        while len(hand) < most:
            if not ready.messages:
                break
            hand.append(ready.take())
            self.is_productive = True
            if ready.rates and not await self._pass_rates():
                return
        if len(hand) < session.min_batch and session.batch_latency > 0:
            await self._wait_for_more(session)

    async def _wait_for_more(self, session: Session) -> None:
        """Add what comes until there are enough, for no longer than the channel's latency."""
        clock, ready, hand = self._means.clock, self.ready, self._hand
        deadline = clock.seconds() + min(session.batch_latency, ready.path.idle_timeout)
        while hand and len(hand) < session.min_batch and not self.is_stopping:
            left = deadline - clock.seconds()
            if not ready.messages and (left <= 0 or not await self._wait(left, precisely=True)):
                return
            while ready.messages and len(hand) < session.max_batch:
                hand.append(ready.take())
                if ready.rates and not await self._pass_rates():
                    return

    async def _pass_rates(self) -> bool:
        """Wait until the last message in hand may go; False when it may not go along now."""
        means = self._means
        for key, rate in self.ready.rates:
            while (wait := await means.limits.throttle(key, rate)) > 0:
                if len(self._hand) > 1:
                    self.ready.put_back([self._hand.pop()])
                    return False
                if wait >= self.ready.path.idle_timeout:
                    await self._hold_all(internal(451, "ready queue throttled"), why.MESSAGE_RATE_THROTTLE, wait)
                    return False
                await sleep(means.clock, wait)
        return True

    async def _hold_all(self, response: Response, reason: str, delay: float) -> None:
        """Put back everything, in hand and in the ready queue, uncharged."""
        self._hand.extend(self.ready.take_excess(0))
        for count in range(len(self._hand)):
            message, queue = self._hand.pop(0)
            await self._means.requeuer.postpone(queue, message, response, (reason,), delay)
            if count % _SLICE == _SLICE - 1:
                await sleep(self._means.clock, 0)

    # -- connecting -------------------------------------------------------------------------------

    async def _connect(self, session: Session) -> bool:
        """Connect for what is in hand; False when that ended the session."""
        if not await self._pass_connection_rate():
            return False
        self.ends_at = self._means.clock.seconds() + _CONNECT_WATCHDOG
        try:
            await session.connect()
        except CancelledError:
            raise
        except ConnectFailed as failure:
            await self._connection_failed(failure.outcome)
            return False
        except SessionEnded as end:
            if not self._attempted:
                await self._connection_failed(_transient(f"failed to connect to any candidate hosts: {end}"))
            return False
        except Exception as error:
            log.failure("connecting for {queue} failed", queue=self.ready.name)
            await self._connection_failed(_transient(f"failed to connect to any candidate hosts: {error}"))
            return False
        finally:
            self.ends_at = _NEVER
        self.ready.failures = 0
        self.ready.totals.connections += 1
        self._carried = 0
        return True

    async def _pass_connection_rate(self) -> bool:
        rate = self.ready.path.max_connection_rate
        key = f"{self.ready.name}-connection-rate"
        while rate is not None and (wait := await self._means.limits.throttle(key, rate)) > 0:
            if wait >= self.ready.path.idle_timeout:
                response = internal(451, "ready queue connection rate throttled")
                await self._hold_all(response, why.CONNECTION_RATE_THROTTLE, wait)
                return False
            await sleep(self._means.clock, wait)
        return True

    async def _connection_failed(self, outcome: Outcome) -> None:
        """Settle what was in hand for the lost connection, and the whole ready queue if that is called for."""
        ready = self.ready
        if outcome.scope is Scope.SITE:
            self._hand.extend(ready.take_excess(0))
        await self._settle_hand(outcome)
        if outcome.scope is Scope.SITE:
            return
        ready.failures += 1
        if ready.failures > ready.path.consecutive_connection_failures_before_delay:
            self._hand.extend(ready.take_excess(0))
            await self._settle_hand(_TOO_MANY_FAILURES, why.TOO_MANY_CONNECTION_FAILURES)

    async def _settle_hand(self, outcome: Outcome, reason: str = why.LOGGED_TRANSIENT_FAILURE) -> None:
        for count in range(len(self._hand)):
            await self._means.settler.settle_alike(self.ready, self._hand.pop(0), outcome, reason)
            if count % _SLICE == _SLICE - 1:
                await sleep(self._means.clock, 0)

    # -- delivering -------------------------------------------------------------------------------

    async def _deliver(self, session: Session) -> bool:
        """Attempt and settle what is in hand; False when the session is to end."""
        messages = [message for message, _ in self._hand]
        for message in messages:
            if message.body is None:
                await self._load_bodies()
                return not self._hand or await self._deliver(session)
        clock, ready = self._means.clock, self.ready
        self.is_delivering = self._attempted = True
        started = clock.seconds()
        self.ends_at = started + watchdog_timeout(ready.path, messages)
        is_fit = True
        try:
            outcomes = await session.deliver(messages)
        except CancelledError:
            raise
        except Exception as error:
            log.failure("delivering over {queue} failed", queue=ready.name)
            failure = _transient(f"error in deliver_message: {error}")
            outcomes = [(failure,) * len(message.recipients) for message in messages]
            is_fit = False
        self.ends_at = _NEVER
        self._latency.observe(clock.seconds() - started)
        self._carried += len(messages)
        items, self._hand = self._hand, []
        settle = self._means.settler.settle
        for position, item in enumerate(items):
            await settle(ready, item, outcomes[position] if position < len(outcomes) else ())
        self.is_delivering = False
        for outcome in (outcome for each in outcomes for outcome in each if outcome.scope is Scope.SITE):
            self._hand.extend(ready.take_excess(0))
            await self._settle_hand(outcome)
        return is_fit

    async def _load_bodies(self) -> None:
        """Read the bodies that are missing; a message without one cannot go."""
        for item in list(self._hand):
            message, queue = item
            if message.body is not None:
                continue
            try:
                await self._means.store.load_body(message)
            except CancelledError:
                raise
            except SpoolCorrupt as error:
                self._hand.remove(item)
                response = internal(554, f"5.3.0 the stored message cannot be read: {error}")
                await self._means.ledger.end(RecordType.BOUNCE, queue, message, response)
            except Exception as error:
                self._hand.remove(item)
                log.failure("the body of {id} cannot be read now", id=message.id.hex())
                response = internal(451, f"4.3.0 the stored message cannot be read now: {error}")
                await self._means.requeuer.postpone(queue, message, response, (why.SPOOL_UNHEALTHY,))

    async def _give_up_hand(self) -> None:
        """Put back what was in hand when the session made no progress."""
        self.ends_at = _NEVER
        response = internal(451, "4.4.1 no progress within the watchdog's time, the session was ended")
        while self._hand:
            message, queue = self._hand.pop(0)
            leg = Leg(self.ready.name, queue.pool_name, self.ready.source.name)
            await self._means.ledger.note(RecordType.DELAYED, queue, message, response, leg)
            await self._means.requeuer.postpone(queue, message, response, (why.DISPATCHER_DROP,))


def _transient(text: str) -> Outcome:
    return Outcome(Verdict.TRANSIENT, internal(400, text), Scope.SESSION)

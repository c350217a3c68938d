"""Dispatchers: each empties a ready queue over one session of its channel.

A dispatcher takes its connection slots, takes messages in batches, connects
when there is something to send, delivers, has the outcomes settled, and takes
the next without a turn through the reactor. It ends when nothing comes for the
idle timeout, when the connection has carried enough messages, or when a
connection cannot be had.

Public: `Dispatcher`, `watchdog_timeout`. What can go wrong: any error out of a
channel is logged and makes a transient failure; a session without progress is
ended by its owner, and its messages go back uncharged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kumotwist.config.egress import PathConfig
from kumotwist.core.errors import ConnectFailed, SessionEnded
from kumotwist.core.interfaces import OpenRequest, Session
from kumotwist.core.message import Message
from kumotwist.core.outcome import SOURCE_REST, Outcome, Scope, Verdict
from kumotwist.core.response import Response, internal
from kumotwist.core.stats import Histogram
from kumotwist.net.clock import sleep
from kumotwist.queue import reasons as why
from kumotwist.queue.hand import Hand, Means
from kumotwist.queue.ready import Item, ReadyQueue
from kumotwist.queue.slots import Slots

log: Final = Logger()

#: A session is given up no sooner than this without progress (KumoMTA).
_MIN_WATCHDOG: Final = 60.0
#: The same while it connects, which may take the timeouts of many hosts. Ours.
_CONNECT_WATCHDOG: Final = 3600.0

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


def watchdog_timeout(path: PathConfig, messages: Sequence[Message]) -> float:
    """Seconds after which the delivery of `messages` is given up: so long for each transaction that it may take."""
    timeout: float | None = path.dispatcher_progress_watchdog_timeout
    if timeout is None:
        longest = max(path.mail_from_timeout, path.rcpt_to_timeout, path.data_timeout, path.data_dot_timeout)
        timeout = max(2 * longest, _MIN_WATCHDOG)
    further = sum([len(message.recipients) // path.max_recipients_per_batch for message in messages])
    return timeout * (1 + further)


class Dispatcher:
    """One session of one ready queue; `run` is all of its life.

    Its owner reads: `ends_at`, the time to call it off, idle for too long or
    busy without progress; `is_delivering`, while messages are on the wire or
    being settled; `is_productive`, whether it ever had anything to send. It
    sets `is_overdue` before it cancels for want of progress, `is_stopping` to
    have no further message taken, and `work`, which ends when `run` does.
    """

    __slots__ = (
        "_attempted", "_carried", "_hand", "_latency", "_means", "_session", "_slots", "_wake", "ends_at",
        "is_delivering", "is_overdue", "is_productive", "is_stopping", "ready", "work",
    )  # fmt: skip

    def __init__(self, ready: ReadyQueue, means: Means) -> None:
        self.ready = ready
        self.ends_at = _NEVER
        self.is_delivering = self.is_overdue = self.is_productive = self.is_stopping = False
        self.work: Deferred[None] | None = None
        self._means = means
        self._latency = means.latency.setdefault(ready.channel.protocol_name, Histogram())
        self._hand = Hand(ready, means)
        self._slots = Slots(means.limits, means.clock)
        self._session: Session | None = None
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

    def withdraw(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Take those out of its hand; none while its messages are on the wire, which first hear their outcomes."""
        return [] if self.is_delivering else self._hand.withdraw(wanted)

    async def run(self) -> None:
        """Serve the ready queue until there is a reason to end; raises nothing but CancelledError."""
        try:
            if await self._slots.take(self.ready):
                while await self._serve_once():
                    pass
        except CancelledError:
            if self.is_overdue:
                self.ends_at = _NEVER
                text = "4.4.1 no progress within the watchdog's time, the session was ended"
                await self._hand.give_up(internal(451, text))
            raise
        finally:
            self.ends_at = _NEVER
            self._hand.put_back()
            try:
                if self._session is not None:
                    await self._session.close()
            finally:
                # Not sooner: until the peer is gone, the connection counts.
                self._slots.release()

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
            return True
        if not session.is_connected and not await self._connect(session):
            return False
        return await self._deliver(session) and self._carried < ready.path.max_deliveries_per_connection

    # -- taking messages --------------------------------------------------------------------------

    async def _wait(self, seconds: float, precisely: bool = False) -> bool:
        """Whether a message came within so long; to the second unless `precisely`."""
        clock, idle = self._means.clock, self.ready.idle
        wake: Deferred[bool] = Deferred()
        self._wake = wake
        idle.append(self)
        self.ends_at = _NEVER if precisely else clock.seconds() + seconds
        timer = clock.callLater(seconds, self.awaken, False) if precisely else None
        try:
            return await wake
        finally:
            self._wake = None
            self.ends_at = _NEVER
            if self in idle:
                idle.remove(self)
            if timer is not None and timer.active():
                timer.cancel()

    async def _fill_hand(self, session: Session) -> None:
        """Take what one delivery may carry, waiting for a worthwhile batch if the channel wants one."""
        ready, hand = self.ready, self._hand
        while ready.messages and len(hand) < session.max_batch:
            self.is_productive = True
            if not await hand.take():
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
                if not await hand.take():
                    return

    # -- connecting -------------------------------------------------------------------------------

    async def _connect(self, session: Session) -> bool:
        """Connect for what is in hand; False when that ended the session.

        What is withdrawn meanwhile leaves the connection to others.
        """
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
        while self._hand and rate is not None and (wait := await self._means.limits.throttle(key, rate)) > 0:
            if wait >= self.ready.path.idle_timeout:
                response = internal(451, "ready queue connection rate throttled")
                await self._hand.hold_all(response, why.CONNECTION_RATE_THROTTLE, wait)
                return False
            await sleep(self._means.clock, wait)
        return bool(self._hand)

    async def _connection_failed(self, outcome: Outcome) -> None:
        """Settle what was in hand for the lost connection, and the whole ready queue if that is called for."""
        ready = self.ready
        self.ends_at = _NEVER
        reason = outcome.reason or why.LOGGED_TRANSIENT_FAILURE
        if outcome.scope is Scope.SOURCE:
            self._begin_rest(outcome)
        await self._hand.settle_alike(outcome, outcome.scope is Scope.SITE, reason)
        if outcome.scope is Scope.SOURCE:
            await self._hand.leave(outcome)
        if outcome.scope in (Scope.SITE, Scope.SOURCE):
            return
        ready.failures += 1
        if ready.failures > ready.path.consecutive_connection_failures_before_delay:
            await self._hand.settle_alike(_TOO_MANY_FAILURES, True, why.TOO_MANY_CONNECTION_FAILURES)

    # -- delivering -------------------------------------------------------------------------------

    async def _deliver(self, session: Session) -> bool:
        """Attempt and settle what is in hand; False when the session is to end."""
        messages = self._hand.messages
        if None in [message.body for message in messages]:
            await self._hand.load_bodies()
            messages = self._hand.messages
        if not messages:
            return True
        clock, is_fit = self._means.clock, True
        self.is_delivering = self._attempted = True
        started = clock.seconds()
        self.ends_at = started + watchdog_timeout(self.ready.path, messages)
        try:
            outcomes = await session.deliver(messages)
        except CancelledError:
            raise
        except Exception as error:
            log.failure("delivering over {queue} failed", queue=self.ready.name)
            failure = _transient(f"error in deliver_message: {error}")
            outcomes, is_fit = [(failure,) * len(message.recipients) for message in messages], False
        self.ends_at = _NEVER
        self._latency.observe(clock.seconds() - started)
        self._carried += len(messages)
        of_all = next((one for each in outcomes for one in each if one.scope in (Scope.SITE, Scope.SOURCE)), None)
        if of_all is not None and of_all.scope is Scope.SOURCE:
            self._begin_rest(of_all)
        await self._hand.settle(outcomes)
        self.is_delivering = False
        if of_all is not None and of_all.scope is Scope.SITE:
            await self._hand.settle_alike(of_all, is_for_all=True)
        elif of_all is not None:
            await self._hand.leave(of_all)
        return is_fit

    def _begin_rest(self, outcome: Outcome) -> None:
        """Nothing goes this way for a while; told before anything is settled, which then knows where not to go."""
        rest, now = outcome.retry_after or SOURCE_REST, self._means.clock.seconds()
        # Other sessions hear the same at the same time.
        is_known = outcome.is_told or self.ready.rest(now) is not None
        self.ready.begin_rest(rest, outcome.response.to_line(), now)
        self._hand.note_rest()
        if not is_known:
            log.warn(
                "{queue} rests for {rest:g} s: {said}",
                queue=self.ready.name,
                rest=round(rest, 1),
                said=outcome.response.to_line(),
            )


def _transient(text: str) -> Outcome:
    return Outcome(Verdict.TRANSIENT, internal(400, text), Scope.SESSION)

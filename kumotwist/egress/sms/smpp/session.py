"""Sessions of the SMPP channel: each hands batches to its account and waits until they are answered.

The bind belongs to the account, not to the session. A session has at most one
batch under way; the account interleaves the batches of all of them.

Public: `SmppSession`, `batch_size`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import CancelledError

from kumotwist.core.errors import ConnectFailed, LocalProtocolError, SessionEnded
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.receipt import MAX_TEXT, printable
from kumotwist.core.response import INTERNAL_PREFIX, Response
from kumotwist.egress.sms.smpp.account import Account
from kumotwist.egress.sms.smpp.keeper import NoBind
from kumotwist.egress.sms.smpp.link import Link
from kumotwist.egress.sms.smpp.options import SmppProtocol
from kumotwist.egress.sms.smpp.outcomes import Judge
from kumotwist.egress.sms.smpp.plan import Planner, Unfit, Unit
from kumotwist.egress.sms.smpp.transfer import Transfer
from kumotwist.net.clock import Clock

#: Messages in a batch at most. Ours: a batch is settled when its last answer is there.
MAX_BATCH: Final = 100


def batch_size(options: SmppProtocol) -> int:
    """A window's worth, or what may leave in a second: many sessions must not hold what takes minutes to send."""
    rate = options.max_submit_rate
    paced = MAX_BATCH if rate is None else max(1, rate.limit // rate.period)
    return min(options.window, MAX_BATCH, paced)


class SmppSession:
    """Implements `core.interfaces.Session`; connects once, a new session starts afresh."""

    min_batch: int = 1
    batch_latency: float = 0.0

    def __init__(
        self, find_account: Callable[[], Account], max_batch: int, planner: Planner, judge: Judge, clock: Clock
    ) -> None:
        """`find_account` is asked when it connects: an account that nobody used may be gone by then."""
        self.max_batch = max_batch
        self._find_account = find_account
        self._planner = planner
        self._judge = judge
        self._clock = clock
        self._account: Account | None = None
        self._link: Link | None = None
        self._has_connected = False

    @property
    def is_connected(self) -> bool:
        """Whether the bind that it found is still there."""
        return self._link is not None and self._account is not None and self._account.link is self._link

    async def connect(self) -> None:
        """Make sure of the bind. Raises ConnectFailed, SessionEnded the second time."""
        if self._has_connected:
            raise SessionEnded("an SMPP session connects once")
        self._has_connected = True
        account = self._account = self._find_account()
        account.enter()
        try:
            self._link = await account.ready()
        except NoBind as problem:
            text = printable(f"{INTERNAL_PREFIX}{problem}", MAX_TEXT)
            wait, response = problem.retry_after, Response(421, text)
            # The account has told of every try to bind.
            raise ConnectFailed(
                Outcome(Verdict.TRANSIENT, response, Scope.SOURCE, account.peer, wait, is_told=True)
            ) from None

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """Submit all parts for all recipients, and wait for their answers. Cancelling it ends the session."""
        account = self._account
        if account is None:
            raise LocalProtocolError("an SMPP session delivers when it is connected")
        now = self._clock.seconds()
        plans = [self._planner.plan(message, now) for message in batch]
        units = [unit for plan in plans for unit in plan if isinstance(unit, Unit)]
        transfer = Transfer(units, now)
        account.send(transfer)
        try:
            await transfer.done
        except CancelledError:
            transfer.abandon()
            self._link = None
            raise
        results = iter(transfer.results)
        peer = account.peer
        return [
            [
                self._judge.refused(unit.reason, peer)
                if isinstance(unit, Unfit)
                else self._judge.outcome(next(results), peer)
                for unit in plan
            ]
            for plan in plans
        ]

    async def close(self) -> None:
        """Leave the account, which keeps the bind for a while. Never raises."""
        self._link = None
        account, self._account = self._account, None
        if account is not None:
            account.leave()

"""Who chooses among routes in a simulation: our own table, and what it is measured against.

Public: `Chooser`, `Learned`, `Fixed`, `Stepwise`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from attrs import define, field

from kumotwist.config.routes import RouteTableConfig
from kumotwist.queue.routes.balance import Balance
from kumotwist.queue.routes.breaker import State
from kumotwist.queue.routes.signals import Signal
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.routes.tallies import ALL


class Chooser(Protocol):
    """Chooses, and hears what became of it."""

    @property
    def patience(self) -> float | None:
        """Seconds after which the absence of a receipt is reported as a loss; None: it never is."""
        ...

    def choose(self, name: str, now: float, tried: Collection[str] = (), key: str | None = None) -> int | None:
        """The position of the route for a message of class `name`, none of those `tried`; None when all were."""
        ...

    def report(self, name: str, position: int, signal: Signal, now: float) -> None:
        """What became of a message of class `name`."""
        ...

    def shares(self, name: str, now: float) -> Sequence[float]:
        """The shares of class `name` as they are."""
        ...


@define(eq=False)
class Learned:
    """The selection code of the daemon itself."""

    config: RouteTableConfig
    _table: RouteTable = field(init=False)
    _has_classes: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._table = RouteTable(self.config)
        self._has_classes = self.config.class_ != "all"

    @property
    def patience(self) -> float | None:
        """What the table says."""
        return self.config.learn.receipt_within

    def choose(self, name: str, now: float, tried: Collection[str] = (), key: str | None = None) -> int | None:
        """By the table."""
        choice = self._table.choose(self._class(name), now, tried, key)
        return choice.position if choice is not None else None

    def report(self, name: str, position: int, signal: Signal, now: float) -> None:
        """To the table."""
        self._table.report(self._class(name), position, signal, now)

    def shares(self, name: str, now: float) -> Sequence[float]:
        """Less what breakers keep out; a trial is no traffic."""
        name = self._class(name)
        shut = [self._is_shut(name, position) for position in range(len(self.config.routes))]
        shares = [0.0 if is_shut else share for is_shut, share in zip(shut, self._table.shares(name, now), strict=True)]
        total = sum(shares)
        return [share / total for share in shares] if total > 0.0 else self._table.open_shares(name, now)

    def _class(self, name: str) -> str:
        return name if self._has_classes else ALL

    def _is_shut(self, name: str, position: int) -> bool:
        return any(self._table.breaker(one, position).state is not State.CLOSED for one in (ALL, name))


@define(eq=False)
class Fixed:
    """The resting weights, whatever happens."""

    config: RouteTableConfig
    _balance: Balance = field(init=False)
    _shares: Sequence[float] = field(init=False)
    patience: None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._shares = self.config.resting_shares
        self._balance = Balance(len(self._shares))

    def choose(self, name: str, now: float, tried: Collection[str] = (), key: str | None = None) -> int | None:  # noqa: ARG002
        """By weight."""
        return _choose(self.config, self._balance, name, self._shares, tried)

    def report(self, name: str, position: int, signal: Signal, now: float) -> None:
        """Nothing is learned."""

    def shares(self, name: str, now: float) -> Sequence[float]:  # noqa: ARG002
        """Always the same."""
        return self._shares


def _choose(
    config: RouteTableConfig, balance: Balance, name: str, shares: Sequence[float], tried: Collection[str]
) -> int | None:
    """By `shares` among the routes that were not tried; a standby when only that is left."""
    if not tried:
        return balance.choose(name, shares)
    left = [0.0 if route.name in tried else share for route, share in zip(config.routes, shares, strict=True)]
    if any(left):
        return balance.choose(name, left)
    return next((position for position, route in enumerate(config.routes) if route.name not in tried), None)


#: GOV.UK Notify's rule (notifications-api, `reduce_sms_provider_priority` and its callers): points moved at a time,
#: the window and the part of late receipts that move them, the errors a minute that do, and seconds between moves.
_STEP: Final = 0.10
_WINDOW: Final = 900.0
_LATE_PART: Final = 0.15
_ERRORS: Final = 50
_ERROR_WINDOW: Final = 60.0
_DRIFT_EVERY: Final = 3600.0
#: Seconds after which a receipt is late.
_LATE: Final = 240.0


@define(eq=False)
class Stepwise:
    """GOV.UK Notify's rule for any number of routes: ten points away from a route in trouble, back in time."""

    config: RouteTableConfig
    _balance: Balance = field(init=False)
    _rest: Sequence[float] = field(init=False)
    _shares: list[float] = field(init=False)
    _errors: list[deque[float]] = field(init=False)
    _receipts: list[deque[tuple[float, bool]]] = field(init=False)
    _moved_at: float = field(default=-_WINDOW, init=False)
    _errors_moved_at: float = field(default=-_ERROR_WINDOW, init=False)
    _drifted_at: float = field(default=0.0, init=False)
    _looked_at: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._rest = self.config.resting_shares
        self._shares = list(self._rest)
        count = len(self._rest)
        self._balance = Balance(count)
        self._errors = [deque() for _ in range(count)]
        self._receipts = [deque() for _ in range(count)]

    @property
    def patience(self) -> float:
        """The rule's own, or the table's if that is shorter."""
        return min(self.config.learn.receipt_within or _LATE, _LATE)

    def choose(self, name: str, now: float, tried: Collection[str] = (), key: str | None = None) -> int | None:  # noqa: ARG002
        """By the shares as they were moved."""
        if now - self._looked_at >= 1.0:
            self._looked_at = now
            self._look(now)
        return _choose(self.config, self._balance, name, self._shares, tried)

    def report(self, name: str, position: int, signal: Signal, now: float) -> None:  # noqa: ARG002
        """Errors and late receipts are kept for as long as the rule looks back."""
        if signal is Signal.FAILED:
            self._errors[position].append(now)
        elif signal in (Signal.ARRIVED, Signal.LOST):
            self._receipts[position].append((now, signal is Signal.LOST))

    def shares(self, name: str, now: float) -> Sequence[float]:  # noqa: ARG002
        """As they were moved."""
        return self._shares

    def _look(self, now: float) -> None:
        for errors in self._errors:
            while errors and errors[0] < now - _ERROR_WINDOW:
                errors.popleft()
        for receipts in self._receipts:
            while receipts and receipts[0][0] < now - _WINDOW:
                receipts.popleft()
        failing = [len(errors) > _ERRORS for errors in self._errors]
        if any(failing) and not all(failing) and now - self._errors_moved_at >= _ERROR_WINDOW:
            self._errors_moved_at = now
            self._move(failing)
        late = [_is_late(receipts) for receipts in self._receipts]
        if any(late) and not all(late) and now - self._moved_at >= _WINDOW:
            self._moved_at = now
            self._move(late)
        if not any(failing) and not any(late) and now - self._drifted_at >= _DRIFT_EVERY:
            self._drifted_at = now
            self._drift()

    def _move(self, troubled: Sequence[bool]) -> None:
        """Ten points from each that is in trouble to those that are not, by their resting weights if they have any."""
        taken = 0.0
        for position, is_troubled in enumerate(troubled):
            if is_troubled:
                step = min(_STEP, self._shares[position])
                self._shares[position] -= step
                taken += step
        well = [0.0 if is_troubled else rest for rest, is_troubled in zip(self._rest, troubled, strict=True)]
        if not any(well):  # standbys only
            well = [float(not is_troubled) for is_troubled in troubled]
        for position, weight in enumerate(well):
            self._shares[position] += taken * weight / sum(well)

    def _drift(self) -> None:
        for position, rest in enumerate(self._rest):
            away = rest - self._shares[position]
            self._shares[position] += max(-_STEP, min(_STEP, away))
        total = sum(self._shares)
        self._shares = [share / total for share in self._shares]


def _is_late(receipts: deque[tuple[float, bool]]) -> bool:
    late = sum(is_late for _, is_late in receipts)
    return len(receipts) > 0 and late / len(receipts) >= _LATE_PART

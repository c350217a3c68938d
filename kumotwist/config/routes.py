"""Options of route tables: which ways a message may go, how the split is learned, and what comes after failure.

Public: `RouteTableConfig`, `RouteEntry`, `BudgetConfig`, `FallbackStage`, `LearnConfig`, `ClassFunction`, `ended`. A
table without two distinct names, with a weight that is no share or with none above 0 is refused
when it is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from math import inf, isfinite
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from kumotwist.config.option import Duration, WrongOption, option, options
from kumotwist.config.queue import Protocol, SmtpProtocol
from kumotwist.core.errors import PolicyError
from kumotwist.core.units import Throttle

#: What classes and sticky keys may be made of, besides `meta:NAME`.
CLASSES: Final = ("all", "domain", "mailbox_provider", "country", "carrier", "tenant", "campaign")
STICKY: Final = ("recipient", "sender")
BUDGETS: Final = ("all", "tenant", "country", "recipient")
OverBudget: TypeAlias = Literal["hold", "reject", "next_route"]
OnFailure: TypeAlias = Literal["next_route", "retry"]
UntilState: TypeAlias = Literal["handed_over", "delivered", "opened", "clicked"]
#: Stages of a fallback. Ours: more than there are kinds of channels.
MAX_STAGES: Final = 8


@frozen
class ClassFunction:
    """A policy's function that names the class of a message; `place` is where it begins, as `file:line`.

    Policy is asked again and again, and gives a new function each time: two that begin at the same place are equal.
    `run` gives all its results; it may wait, and raises PolicyError and Rejection.
    """

    place: str
    run: Callable[[object], Awaitable[Sequence[object]]] = field(eq=False, repr=False)

    def __str__(self) -> str:
        return f"the function at {self.place}"


def ended(function: ClassFunction) -> ClassFunction:
    """The same when its policy has been replaced: it fails, and holds nothing of the old one."""
    return ClassFunction(function.place, _gone)


async def _gone(_message: object) -> Sequence[object]:
    raise PolicyError("its policy has been replaced")


@options
class BudgetConfig:
    """A cap on what goes by a route, against abuse that costs money."""

    rate: Throttle = option("At most so many recipients, as `1,000/h`, on all workers together.")
    by: str = option(
        "What is counted apart: `all`, `tenant`, `country` (a number's calling code), `recipient`, or `meta:NAME`.",
        default="all",
    )
    prefixes: tuple[str, ...] = option("Only numbers that begin with one of these, as `+7`; none: all.", default=())
    over: OverBudget = option(
        "What is over: `hold` waits until there is room again, `reject` bounces, `next_route` goes by another route, "
        "and waits without one.",
        default="hold",
    )

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for a cap that would cap nothing."""
        if self.by not in BUDGETS and not self.by.startswith("meta:"):
            raise WrongOption("by", f"must be one of {', '.join(BUDGETS)}, meta:NAME, got '{self.by}'")
        bad = next((one for one in self.prefixes if not one.startswith("+") or not one[1:].isdecimal()), None)
        if bad is not None:
            raise WrongOption("prefixes", f"must have + and digits, got '{bad}'")


@options
class RouteEntry:
    """One way: by a protocol, or by the mail exchangers from an egress pool."""

    name: str = option("What it is called in records, metrics and `meta.route`.")
    weight: float = option("Its resting share, in proportion to the others'; 0: only when no other way is left.")
    protocol: Protocol = option("The channel by which its messages leave.", factory=SmtpProtocol)
    egress_pool: str | None = option("The pool whose sources it uses; none: the `unspecified` source.", default=None)

    budgets: tuple[BudgetConfig, ...] = option("Caps on what goes by it; all must have room.", default=())

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for what is no name or no weight, and for a budget that is there twice."""
        if not self.name:
            raise WrongOption("name", "must not be empty")
        if not isfinite(self.weight) or self.weight < 0.0:
            raise WrongOption("weight", f"of route '{self.name}' must be 0 or more, got {self.weight:g}")
        self._check_budgets()

    def leads_like(self, other: RouteEntry) -> bool:
        """Whether it is the same way as another one, whatever they are called."""
        return self.protocol == other.protocol and self.egress_pool == other.egress_pool

    def _check_budgets(self) -> None:
        """What counts the same twice would take two of its places for each message, and of `1/m` let none pass."""
        counted = set()
        for budget in self.budgets:
            what = (budget.rate, budget.by, frozenset(budget.prefixes))
            if what in counted:
                to = f" to {', '.join(budget.prefixes)}" if budget.prefixes else ""
                text = f"of route '{self.name}' has {budget.rate} by {budget.by}{to} twice; keep one of them"
                raise WrongOption("budgets", text)
            counted.add(what)


@options
class FallbackStage:
    """A table that takes over when what comes before it has not succeeded in time."""

    route_table: str = option("The table by which the message goes on; its own `fallback` is not followed.")
    wait: Duration = option(
        "How long what comes before has, from the moment at which it began; what ends badly before that is followed "
        "at once.",
        default=Duration(300.0),
    )
    until_state: UntilState = option(
        "What must have been reached by then: `handed_over`, or by a receipt `delivered`, `opened` or `clicked`; a "
        "later one counts as well.",
        default="delivered",
    )
    alongside: bool = option(
        "Whether what comes before goes on trying beside this when it has not handed the message over by then.",
        default=False,
    )

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for a stage that would leave no time to what comes before it."""
        if not 0.0 < self.wait < inf:
            raise WrongOption("wait", "must be more than 0")


@options
class LearnConfig:
    """How what was delivered lately moves the split."""

    enabled: bool = option("Whether it moves at all.", default=True)
    half_life: Duration = option("After so long a delivery counts half.", default=Duration(600.0))
    min_samples: float = option("A route is judged on no fewer deliveries.", default=50.0, unit="deliveries")
    margin: float = option("A difference in success that does not matter.", default=0.02, unit="parts of 1")
    floor: float = option("The least share of a route that has a weight: its trial traffic.", default=0.01)
    handed_over_within: Duration | None = option(
        "A hand-over that takes longer, from the choice of the route on, counts as failed: so slow routes lose share, "
        "and no breaker opens for it.",
        default=None,
    )
    receipt_within: Duration | None = option(
        "A delivery of which no receipt says within so long what became of it counts as lost, on routes that "
        "report `delivered`.",
        default=None,
    )

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for settings that no table could follow."""
        if not 0.0 <= self.floor <= 0.2:
            raise WrongOption("floor", f"must be between 0 and 0.2, got {self.floor:g}")
        if not 0.0 <= self.margin < 1.0:
            raise WrongOption("margin", f"must be at least 0 and less than 1, got {self.margin:g}")
        for name in ("handed_over_within", "receipt_within"):
            if (within := getattr(self, name)) is not None and not within > 0.0:
                raise WrongOption(name, f"must be more than 0, got {within:g}")
        if not self.half_life > 0.0:
            raise WrongOption("half_life", f"must be more than 0, got {self.half_life:g}")
        if not self.min_samples >= 1.0:
            raise WrongOption("min_samples", f"must be 1 or more, got {self.min_samples:g}")


@options
class RouteTableConfig:
    """Several ways for the same messages, and how they are shared out."""

    name: str = option("The table's name.")
    routes: tuple[RouteEntry, ...] = option("The ways, in the order in which they are tried after a failure.")
    class_: str | ClassFunction = option(
        "What deliveries are told apart by when learning: `all`, `domain`, `mailbox_provider` (who runs the "
        "recipient's mailbox), `country` or `carrier` of the recipient's number, `tenant`, `campaign`, `meta:NAME`, "
        "or a function that gets the message and returns a string or nil.",
        default="domain",
    )
    learn: LearnConfig = option("How the split is learned.", factory=LearnConfig)
    on_failure: OnFailure = option(
        "After a failure of the way itself (no connection, an account or a server at fault): `next_route` goes on over "
        "the next one at once, `retry` waits.",
        default="retry",
    )
    next_when_unknown: bool = option(
        "Whether `next_route` also holds when the peer may have taken the message all the same.", default=False
    )
    sticky_by: str | None = option(
        "Keeps what has the same value on the same route while shares do not change: `recipient`, `sender`, or "
        "`meta:NAME`.",
        default=None,
    )
    fallback: tuple[FallbackStage, ...] = option(
        "Other tables, a channel of another kind mostly, by which the same message goes on, one after another, when "
        "there was no success in time.",
        default=(),
    )
    ttl: Duration = option("How long the answer is kept.", default=Duration(60.0))

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for a table that cannot be followed."""
        names = [route.name for route in self.routes]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise WrongOption("routes", f"has two routes named '{twice}'")
        if not any(route.weight > 0.0 for route in self.routes):
            raise WrongOption("routes", "needs at least one route with a weight above 0")
        if not isfinite(sum(route.weight for route in self.routes)):
            raise WrongOption("routes", "has weights whose sum is beyond all numbers")
        if isinstance(self.class_, str) and self.class_ not in CLASSES and not self.class_.startswith("meta:"):
            raise WrongOption(
                "class", f"must be one of {', '.join(CLASSES)}, meta:NAME or a function, got '{self.class_}'"
            )
        if self.sticky_by not in (None, *STICKY) and not str(self.sticky_by).startswith("meta:"):
            raise WrongOption("sticky_by", f"must be one of {', '.join(STICKY)}, meta:NAME, got '{self.sticky_by}'")
        self._check_fallback()
        if self.learn.floor * len(self.routes) >= 1.0:
            raise WrongOption("learn.floor", "must be less than one divided by the number of routes")

    @property
    def resting_shares(self) -> tuple[float, ...]:
        """What part of all messages each route gets when none is worse than another: its weight's part."""
        total = sum(route.weight for route in self.routes)
        return tuple(route.weight / total for route in self.routes)

    def position(self, name: str) -> int | None:
        """Where the route of that name stands; None when there is none."""
        return next((position for position, route in enumerate(self.routes) if route.name == name), None)

    def _check_fallback(self) -> None:
        tables = [self.name, *(stage.route_table for stage in self.fallback)]
        if len(self.fallback) > MAX_STAGES:
            raise WrongOption("fallback", f"has {len(self.fallback)} stages; there may be {MAX_STAGES}")
        if tables.count(self.name) > 1:
            raise WrongOption("fallback", f"leads back to '{self.name}' itself")
        twice = next((name for name in tables if tables.count(name) > 1), None)
        if twice is not None:
            raise WrongOption("fallback", f"names the table '{twice}' twice")

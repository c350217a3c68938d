"""What an explanation tells: the form in which programs get it, as `docs/explain.md` describes it.

Fields may be added; none is renamed, removed or given another meaning.

Public: `Explanation` and its parts `Leg`, `Stage`, `RouteShown`, `LatelyShown`, `SourceShown`. Nothing can go wrong.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kumotwist.queue.consequences import Consequence

Part = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[float, Meta(ge=0.0)]


class LatelyShown(msgspec.Struct):
    """What a route has done for the message's class of late, on all workers: counts that fade by half in a half-life.

    Seconds are the median and what 95 % took at most; null when there is nothing to tell from.
    """

    handed_over: Count
    transient: Count
    permanent: Count
    receipts: dict[str, Count]
    handover_seconds: tuple[float | None, float | None]
    receipt_seconds: tuple[float | None, float | None]


class RouteShown(msgspec.Struct):
    """One route of a table, as it stands for the message's class.

    `resting` is its share by weight, `share` the one it has now; `health` is the part of its last messages that
    went well, told from `samples` of them. An `open` breaker lets the next trial through in `trial_in` seconds.
    `account_rests` says until when it is open for a rest, and what was said.
    `owed` is how many messages it is behind its share, in the class and in the table: the most owed is next.
    `holds` says which of its `budgets` the message would find used up.
    """

    name: str
    channel: str
    resting: Part
    share: Part
    health: Part
    samples: Count
    breaker: Literal["closed", "open", "trial"]
    trial_in: Count | None = None
    is_chosen: bool = False
    owed: float = 0.0
    budgets: list[str] = []
    holds: list[str] = []
    lately: LatelyShown | None = None
    account_rests: str = ""


class SourceShown(msgspec.Struct):
    """One source that the message may leave from, and the ready queue that it would enter.

    `limits` are those of its path; `holds` says which of them, and what else, would hold the message up now.
    """

    source: str
    weight: int
    ready_queue: str
    limits: dict[str, str] = {}
    holds: list[str] = []
    problem: str = ""


class Leg(msgspec.Struct, kw_only=True):
    """The way as far as one route table decides it, or the queue without one.

    `class_by` is what the table tells messages apart by, `class_problem` why that did not work, and `draw` why
    the route that is marked gets the next message. In an outage (`is_outage`) all routes are shut: the resting
    shares hold, each message is a trial, and none is blamed for what fails. `secrets` are named, never shown.
    `problem` says why the way ends early. `on_failure` is what would happen next.
    """

    route_table: str = ""
    route_class: str = ""
    class_by: str = ""
    class_problem: str = ""
    is_outage: bool = False
    pinned: bool = False
    draw: str = ""
    routes: list[RouteShown] = []
    channel: str = ""
    options: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    pool: str = ""
    sources: list[SourceShown] = []
    on_failure: list[Consequence] = []
    problem: str = ""


class Stage(Leg, kw_only=True):
    """A stage of a fallback.

    It takes over when what comes before it has not reached `until_state` within `wait` seconds, or has ended
    badly; `alongside` when that goes on beside it. `when` says the same in words.
    """

    when: str
    wait: Count
    until_state: Literal["handed_over", "delivered", "opened", "clicked"]
    alongside: bool


class Explanation(Leg, kw_only=True):
    """The way of one message. `holds` is what would keep it in its scheduled queue now.

    `fallback` has the stages that come after the table, each as the message would find it now; `warnings` what
    is wrong there and what is not shown.
    """

    queue: str = ""
    queue_config: dict[str, Any] = {}
    holds: list[str] = []
    fallback: list[Stage] = []
    warnings: list[str] = []

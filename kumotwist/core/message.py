"""The message: an envelope, metadata and a body on its way through the house.

Intake makes it, policy edits it, the spool keeps it, the queue decides when,
a channel hands it on. While it only waits, the queue keeps a `Parked` in its
place and the message itself lives in the spool.

Public: `Message`, `ReadOnlyMessage`, `Parked`, `SPLIT_FROM`, `FALLBACK_OF`.
"""

from __future__ import annotations

from math import inf
from typing import Final

from attrs import define, field, fields

from kumotwist.core import queuename
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.course import Course
from kumotwist.core.ids import SpoolId, created_at
from kumotwist.core.json import Json, JsonObject
from kumotwist.core.schedule import Schedule
from kumotwist.core.way import Kept

#: The metadata of a message that was one of several recipients: the id of what it was split from. Metadata that
#: names an address was not written for its recipient alone.
SPLIT_FROM: Final = "split_from"
#: Meta key: the message whose fallback goes on beside this one.
FALLBACK_OF: Final = "fallback_of"


@define(eq=False)
class Message:
    """One message with its recipients, owned by one stage at a time.

    `body` is the RFC 5322 text with CRLF line ends, or None while it is only
    in the spool. `due` is in Unix seconds. `attempts` counts finished
    attempts. `is_meta_dirty` and `is_body_dirty` tell what the spool does not
    have yet; use the setters, which keep them. Without `has_dots` it is known
    that no dot in `body` stands where a reader may see the start of a line, so
    that nobody need search for one (100 KiB: 180 microseconds). `max_age` is
    that of the queue it came from, in seconds, for as long as it is in a ready
    queue: what channels tell a peer that keeps messages itself. `course` is
    where it is on a fallback; None when its table has none. `kept` are the
    routes on which it waits for room; None when its next attempt takes any.
    """

    id: SpoolId
    sender: EnvelopeAddress
    recipients: tuple[EnvelopeAddress, ...]
    meta: JsonObject
    body: bytes | None = field(repr=False)
    due: float = 0.0
    attempts: int = 0
    schedule: Schedule | None = None
    is_meta_dirty: bool = True
    is_body_dirty: bool = True
    has_dots: bool = True
    max_age: float = inf
    course: Course | None = None
    kept: Kept | None = None

    @property
    def created(self) -> float:
        """Unix seconds of acceptance, from the id."""
        return created_at(self.id)

    @property
    def began(self) -> float:
        """Unix seconds from which its age counts: acceptance, or the beginning of the later stage that it is on."""
        if self.course is not None and self.course.stage is not None:
            return self.course.since
        return self.created

    @property
    def expires(self) -> float:
        """Unix seconds at which the queue gives it up; infinity when nothing says so."""
        if self.schedule is not None and self.schedule.expires is not None:
            return self.schedule.expires
        return self.began + self.max_age

    @property
    def size(self) -> int:
        """Octets of the body in memory; 0 while it is not."""
        return len(self.body) if self.body is not None else 0

    @property
    def is_spooled(self) -> bool:
        """Whether the spool has all of it."""
        return not (self.is_meta_dirty or self.is_body_dirty)

    def check_may_change(self) -> None:
        """Raises ValueError for a `ReadOnlyMessage`."""

    def set_meta(self, key: str, value: Json) -> None:
        """Set one metadata key; `value` must be JSON."""
        self.meta[key] = value
        self.is_meta_dirty = True

    def set_sender(self, sender: EnvelopeAddress) -> None:
        """Replace the reverse path."""
        self.sender = sender
        self.is_meta_dirty = True

    def set_recipients(self, recipients: tuple[EnvelopeAddress, ...]) -> None:
        """Replace the forward paths."""
        self.recipients = recipients
        self.is_meta_dirty = True

    def set_course(self, course: Course | None) -> None:
        """Replace where it is on a fallback."""
        self.course = course
        self.is_meta_dirty = True

    def set_kept(self, kept: Kept | None) -> None:
        """Replace the routes on which it waits for room."""
        self.kept = kept
        self.is_meta_dirty = True

    def set_schedule(self, schedule: Schedule | None) -> None:
        """Replace the scheduling constraints and move `due` into them."""
        self.schedule = schedule
        self.is_meta_dirty = True
        if schedule is not None:
            self.due = schedule.next_allowed(self.due)

    def set_body(self, body: bytes) -> None:
        """Replace the body."""
        self.body = body
        self.is_body_dirty = True
        self.has_dots = True

    def release_body(self) -> None:
        """Let the body go: the message has ended, or waits and the spool has it.

        Whoever is the last to own a message calls it, since policy's handle on
        it lives until Lua collects its garbage: a thousand messages later, for
        Lua cannot see how large a message is.
        """
        self.body = None

    def queue_name(self) -> str:
        """The scheduled queue it belongs to, from meta and the first recipient.

        Raises ValueError when one of the four meta keys is not a string.
        """
        meta = self.meta
        name, tenant, campaign, routing_domain = (
            _text(meta, "queue"),
            _text(meta, "tenant"),
            _text(meta, "campaign"),
            _text(meta, "routing_domain"),
        )
        if name is not None:
            return name
        domain = self.recipients[0].domain.lower() if self.recipients else ""
        return queuename.compose(domain, tenant, campaign, routing_domain)


@define(eq=False)
class ReadOnlyMessage(Message):
    """The same message for a function of policy that is asked about it, and must not change it: ValueError."""

    @classmethod
    def of(cls, message: Message) -> ReadOnlyMessage:
        """A view of `message` as it is now."""
        return cls(*[getattr(message, one.name) for one in fields(Message)])

    def check_may_change(self) -> None:
        """It may not."""
        raise ValueError("the message cannot be changed here: the function that names its class only reads it")

    def set_meta(self, key: str, value: Json) -> None:  # noqa: ARG002
        """Refused."""
        self.check_may_change()

    def set_sender(self, sender: EnvelopeAddress) -> None:  # noqa: ARG002
        """Refused."""
        self.check_may_change()

    def set_recipients(self, recipients: tuple[EnvelopeAddress, ...]) -> None:  # noqa: ARG002
        """Refused."""
        self.check_may_change()

    def set_course(self, course: Course | None) -> None:  # noqa: ARG002
        """Refused."""
        self.check_may_change()

    def set_schedule(self, schedule: Schedule | None) -> None:  # noqa: ARG002
        """Refused."""
        self.check_may_change()

    def set_body(self, body: bytes) -> None:  # noqa: ARG002
        """Refused."""
        self.check_may_change()


def _text(meta: JsonObject, key: str) -> str | None:
    value = meta.get(key)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"meta {key!r} must be a string, got {value!r}")


@define(eq=False)
class Parked:
    """A message that waits on the wheel; all else about it is in the spool.

    Kept as small as can be: hundreds of thousands wait at once.
    """

    id: SpoolId
    due: float
    attempts: int

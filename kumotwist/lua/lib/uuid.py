"""`kumo.uuid`: RFC 9562 identifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID, uuid4

from attrs import frozen

from kumotwist.core.ids import SpoolId
from kumotwist.lua.binding import Function, facade, text


@facade(
    "uuid",
    fields=("bytes", "hyphenated", "simple", "braced", "urn"),
    meta={"__tostring": "text", "__eq": "equals"},
)
@frozen
class Uuid:
    """One identifier and its spellings."""

    value: UUID

    @property
    def bytes(self) -> bytes:
        """The 16 bytes."""
        return self.value.bytes

    @property
    def hyphenated(self) -> str:
        """`69994630-3e27-11ef-91fc-cc28aa0a5c5a`."""
        return str(self.value)

    @property
    def simple(self) -> str:
        """32 hex digits."""
        return self.value.hex

    @property
    def braced(self) -> str:
        """`{69994630-3e27-11ef-91fc-cc28aa0a5c5a}`."""
        return f"{{{self.value}}}"

    @property
    def urn(self) -> str:
        """`urn:uuid:69994630-3e27-11ef-91fc-cc28aa0a5c5a`."""
        return self.value.urn

    def text(self) -> str:
        """The hyphenated form."""
        return self.hyphenated

    def equals(self, other: object) -> bool:
        """Whether both are the same identifier."""
        return isinstance(other, Uuid) and self.value == other.value


class UuidLibrary:
    """The functions of `kumo.uuid`; `ids` makes version 1 ids that differ between workers."""

    namespace = "uuid"

    def __init__(self, ids: Callable[[], SpoolId]) -> None:
        self._ids = ids

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"new_v1": self.new_v1, "new_v4": self.new_v4, "parse": self.parse}

    def new_v1(self) -> Uuid:
        """A new time-based identifier."""
        return Uuid(UUID(bytes=self._ids()))

    def new_v4(self) -> Uuid:
        """A new random identifier."""
        return Uuid(uuid4())

    def parse(self, string: object) -> Uuid:
        """The identifier in a string: hyphenated, simple, braced or a URN."""
        source = text(string, "uuid")
        try:
            return Uuid(UUID(source))
        except ValueError:
            raise ValueError(f"not a UUID: {source!r}") from None

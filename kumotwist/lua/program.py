"""One loaded policy: a Lua runtime that has run the policy file, and the events that it registered.

A reload makes a new program; the old one lives as long as handlers or
connections of it do. Public: `Program`, `ProgramSettings`, `EventStats`.
Raises PolicyError, PolicyTimeout and Rejection.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.connection import ConnectionMeta
from kumotwist.core.errors import PolicyError
from kumotwist.core.interfaces import Witness
from kumotwist.core.message import Message
from kumotwist.core.stats import Histogram
from kumotwist.lua.binding import Library
from kumotwist.lua.bridge import NO_WITNESS, Bridge, Kept
from kumotwist.lua.convert import HostClass
from kumotwist.lua.engine import Entry, Settings

#: Events whose first arguments are facades, and the facades: these have a way in of their own.
_KINDS: Final[Mapping[str, tuple[type | None, ...]]] = {
    "smtp_server_connection_accepted": (ConnectionMeta,),
    "smtp_server_mail_from": (EnvelopeAddress, ConnectionMeta),
    "smtp_server_rcpt_to": (EnvelopeAddress, ConnectionMeta),
    "smtp_server_data": (Message, ConnectionMeta),
    "smtp_server_split_transaction": (Message, ConnectionMeta),
    "smtp_server_message_received": (Message, ConnectionMeta),
    "get_listener_domain": (None, None, ConnectionMeta),
    "throttle_insert_ready_queue": (Message,),
    "spool_message_enumerated": (Message,),
    "should_enqueue_log_record": (Message,),
}


@define(eq=False)
class EventStats:
    """How often an event ran, and how long its handlers took, waits included."""

    started: int = 0
    latency: Histogram = field(factory=Histogram)


@frozen(kw_only=True)
class ProgramSettings:
    """What a program is made of."""

    engine: Settings
    classes: Mapping[type, HostClass]
    libraries: Sequence[Library]
    stats: dict[str, EventStats]
    witness: Witness = NO_WITNESS


class Program:
    """A policy that has been read."""

    def __init__(self, settings: ProgramSettings) -> None:
        """Open the runtime; nothing has run yet."""
        self._stats = settings.stats
        self.bridge = Bridge(settings.engine, settings.classes, settings.witness)
        for library in settings.libraries:
            self.bridge.engine.install(library.namespace, library.functions())
        self.sources: Mapping[str, Sequence[str]] = {}
        self._entries: dict[str, Entry] = {}

    async def run_main(self, path: Path) -> None:
        """Read and run the policy file. Raises PolicyError with file and line."""
        await self.run_file(path)
        entry = self.bridge.engine.entry
        self._entries = {name: entry(name, *kinds) for name, kinds in _KINDS.items() if name in self.sources}

    async def run_file(self, path: Path) -> None:
        """The same for a file of which no handler will be run. Raises PolicyError with file and line."""
        try:
            source = path.read_bytes()
        except OSError as error:
            raise PolicyError(f"cannot read the policy {path}: {error.strerror}") from None
        if source.startswith(b"#"):
            source = b"--" + source
        await self.bridge.main(source, str(path))
        self.sources = self.bridge.engine.registered()

    def handles(self, event: str) -> bool:
        """Whether a handler is registered."""
        return event in self.sources

    def source_of(self, event: str) -> str:
        """`file:line` of the (first) handler, for messages."""
        sources = self.sources.get(event)
        return sources[0] if sources else event

    async def run(self, event: str, *arguments: object) -> list[object]:
        """Run the handlers of `event`, which must be registered; what they returned."""
        stats = self._stats.get(event)
        if stats is None:
            stats = self._stats[event] = EventStats()
        stats.started += 1
        started = time.perf_counter()
        try:
            entry = self._entries.get(event)
            if entry is None:
                return await self.bridge.fire(event, *arguments)
            if (*map(type, arguments),) != _KINDS[event]:
                arguments = _checked(event, arguments)
            return await self.bridge.enter(event, entry, *arguments)
        finally:
            stats.latency.observe(time.perf_counter() - started)

    async def run_and_keep(self, event: str, *arguments: object) -> Kept:
        """The same for a handler that must return a table, which stays in Lua."""
        self._require(event)
        return await self.bridge.fire_and_keep(event, *arguments)

    async def run_required(self, event: str, *arguments: object) -> list[object]:
        """The same for a handler that must exist."""
        self._require(event)
        return await self.run(event, *arguments)

    def _require(self, event: str) -> None:
        if event not in self.sources:
            raise PolicyError(f"the policy has no handler for the event '{event}'")


def _checked(event: str, arguments: Sequence[object]) -> tuple[object, ...]:
    """The arguments for a prepared way in: only what may cross as it is, and objects of the class prepared for."""
    kinds = _KINDS[event]
    checked: list[object] = []
    for index, argument in enumerate(arguments):
        kind = kinds[index] if index < len(kinds) else None
        if kind is not None:
            if type(argument) is not kind:
                raise TypeError(f"argument {index + 1} of {event} must be a {kind.__name__}")
            checked.append(argument)
        elif isinstance(argument, str):
            checked.append(argument.encode())
        elif argument is None or isinstance(argument, (bool, int, float, bytes)):
            checked.append(argument)
        else:
            raise TypeError(f"argument {index + 1} of {event} must be a scalar")
    return tuple(checked)

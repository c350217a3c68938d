"""What the event groups share: the program in force, and reading what a handler returned.

Public: `Hooks`, `returned`, `auth_answer`. What can go wrong: PolicyError that
names the handler when it returned something else than its event asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from kumotwist.config.catalog import CATALOG
from kumotwist.config.structure import structure
from kumotwist.core.connection import AuthInfo, Identity
from kumotwist.core.errors import ConfigError, PolicyError
from kumotwist.lua.program import Program

T = TypeVar("T")

#: What makes the options objects that events return.
_MAKERS: Final[Mapping[type, str]] = {cls: name for name, cls in CATALOG.items()}


class Hooks:
    """Base of the event groups."""

    #: The program in force.
    program: Program

    def handles(self, event: str) -> bool:
        """Whether policy has a handler for the event."""
        return event in self.program.sources

    async def notify(self, event: str, *arguments: object) -> None:
        """Run an event whose result does not matter, if there is a handler."""
        program = self.program
        if event in program.sources:
            await program.run(event, *arguments)

    async def ask(self, event: str, *arguments: object) -> object:
        """The first value that the handler returned; None without a handler, and when it returned nothing or nil."""
        program = self.program
        if event not in program.sources:
            return None
        results = await program.run(event, *arguments)
        return results[0] if results else None


def returned(
    cls: type[T], value: object, event: str, program: Program, read: Callable[[object, str], T] | None = None
) -> T:
    """`value` as an options object, by `read` if given. Raises PolicyError that says which handler gave it."""
    if isinstance(value, cls):
        return value
    where = f"{program.source_of(event)}: {event}"
    if value is None:
        raise PolicyError(f"{where} returned nil; return {_MAKERS.get(cls, cls.__name__)} {{...}}, or no value at all")
    try:
        return read(value, where) if read is not None else structure(cls, value, where)
    except ConfigError as error:
        raise PolicyError(str(error)) from None


def auth_answer(value: object, event: str, program: Program) -> AuthInfo | bool:
    """What an authentication event returned: a boolean or an AuthInfo table."""
    if value is None or isinstance(value, bool):
        return bool(value)
    where = f"{program.source_of(event)}: {event}"
    if not isinstance(value, dict):
        raise PolicyError(f"{where} must return true, false or an AuthInfo table")
    try:
        return _auth_info(value)
    except (KeyError, TypeError) as error:
        raise PolicyError(f"{where} returned an AuthInfo that cannot be read: {error}") from None


def _auth_info(table: dict[str, object]) -> AuthInfo:
    unknown = set(table) - {"peer_address", "identities", "groups"}
    if unknown:
        raise TypeError(f"unknown entry '{min(unknown)}'")
    identities, groups = table.get("identities") or [], table.get("groups") or []
    if not isinstance(identities, list) or not isinstance(groups, list):
        raise TypeError("identities and groups must be lists")
    peer = table.get("peer_address")
    return AuthInfo(
        str(peer) if peer is not None else None,
        tuple(Identity(str(one["identity"]), str(one.get("context", "GenericAuth"))) for one in identities),
        tuple(str(group) for group in groups),
    )

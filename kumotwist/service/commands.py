"""What supervisor and workers may say to each other, as AMP commands.

Public: the commands, `UNREACHABLE` (how a call fails when the other process is gone), and the two errors that a
worker answers with.
"""

# mypy: disallow-untyped-calls=False
# ruff: noqa: N815 (AMP names its class variables in mixed case, and has no types)

from __future__ import annotations

from typing import Any, ClassVar, Final

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.protocols import amp

from kumotwist.core.errors import ConfigError

#: Octets of one AMP value; the format's own limit is 65535.
_PIECE: Final = 60000
UNREACHABLE: Final = (ConnectionLost, ConnectionDone)


class LargeBytes(amp.Argument):
    """A byte string of any length, cut into pieces under names of their own."""

    def toBox(self, name: bytes, strings: Any, objects: Any, _: Any) -> None:
        """Put the pieces into the box."""
        value: bytes = objects.pop(name.decode())
        strings[name] = b"%d" % -(-len(value) // _PIECE)
        for start in range(0, len(value), _PIECE):
            strings[b"%s.%d" % (name, start // _PIECE)] = value[start : start + _PIECE]

    def fromBox(self, name: bytes, strings: Any, objects: Any, _: Any) -> None:
        """Take the pieces out of the box."""
        count = int(strings.pop(name))
        objects[name.decode()] = b"".join(strings.pop(b"%s.%d" % (name, index)) for index in range(count))


class NoNumbers(Exception):
    """A worker's metrics cannot be read: a defect of ours, told in its log. The others' are shown."""


class NoAnswer(Exception):
    """A worker cannot answer a question now; it has told why in its log."""


class Listen(amp.Command):
    """Worker: give me the listening socket of my listener `key`, wanted on `address`."""

    arguments = [(b"scheme", amp.Unicode()), (b"ordinal", amp.Integer()), (b"address", amp.Unicode())]
    response = [(b"descriptor", amp.Descriptor())]
    errors = {ConfigError: b"CONFIG"}


class Ready(amp.Command):
    """Worker: I take messages."""

    arguments: ClassVar[list[Any]] = []
    response: ClassVar[list[Any]] = []


class CannotStart(amp.Command):
    """Worker: I cannot start, and why."""

    arguments = [(b"why", LargeBytes())]
    response: ClassVar[list[Any]] = []


class Take(amp.Command):
    """Worker: give me up to `want` events of this rate."""

    arguments = [(b"key", amp.Unicode()), (b"spec", amp.Unicode()), (b"want", amp.Integer())]
    response = [(b"granted", amp.Integer()), (b"wait", amp.Float())]


class GiveBack(amp.Command):
    """Worker: I did not use `count` events."""

    arguments = [(b"key", amp.Unicode()), (b"spec", amp.Unicode()), (b"count", amp.Integer())]
    requiresAnswer = False


class Acquire(amp.Command):
    """Worker: give me one of `limit` slots."""

    arguments = [(b"key", amp.Unicode()), (b"limit", amp.Integer()), (b"waits", amp.Boolean())]
    response = [(b"granted", amp.Boolean())]


class Release(amp.Command):
    """Worker: here is a slot back."""

    arguments = [(b"key", amp.Unicode())]
    requiresAnswer = False


class Collect(amp.Command):
    """Worker: give me the numbers of all workers, a JSON list of strings."""

    arguments: ClassVar[list[Any]] = []
    response = [(b"snapshots", LargeBytes())]


class Snapshot(amp.Command):
    """Supervisor: give me your numbers."""

    arguments: ClassVar[list[Any]] = []
    response = [(b"snapshot", LargeBytes())]
    errors = {NoNumbers: b"NUMBERS"}


class AskAll(amp.Command):
    """Worker: put a question to every worker; the answers, as a msgpack list of byte strings."""

    arguments = [(b"topic", amp.Unicode()), (b"question", LargeBytes())]
    response = [(b"answers", LargeBytes())]


class Ask(amp.Command):
    """Supervisor: here is a question."""

    arguments = [(b"topic", amp.Unicode()), (b"question", LargeBytes())]
    response = [(b"answer", LargeBytes())]
    errors = {NoAnswer: b"ANSWER"}


class BumpEpoch(amp.Command):
    """Either way: the policy is to be read anew."""

    arguments: ClassVar[list[Any]] = []
    requiresAnswer = False

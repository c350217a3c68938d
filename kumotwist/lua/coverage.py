"""Which lines of a Lua file hold code that can run: what a count of lines that ran is measured against.

Lua compiles the file and dumps it; the line of every instruction stands in the
dump (`ldump.c` of Lua 5.4). Nothing of the file runs. Lua's own `activelines`
would do for functions that exist, but one that nobody has made yet has none.

What does not count: the last instruction of a function, which is the return
that Lua adds; the one behind a tail call, to which nothing comes back; and a
line on which things are only closed. A function is made at its `end` for Lua,
and where it begins for people: the line of `function` counts in its place.

Public: `Lines`, `lines_of`. Raises PolicyError for a file that is no Lua.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from kumotwist.core.errors import PolicyError

_DUMP: Final = b"local s, n = ... local f, e = load(s, n, 't') if not f then return nil, e end return string.dump(f)"
#: A difference to the line before of this value: the line stands in the table of whole numbers (`ldebug.h`).
_ABSOLUTE: Final = -128
#: Octets before the number of upvalues: mark, version, format, check data, three sizes, two check numbers.
_HEADER: Final = 4 + 1 + 1 + 6 + 3 + 8 + 8
#: Octets of a constant behind its type: floats and integers; strings tell their own length.
_NUMBERS: Final = (3, 19)
_STRINGS: Final = (4, 20)
#: The lowest seven bits of an instruction, and where the number of the function of OP_CLOSURE begins (`lopcodes.h`).
_TAIL_CALL: Final = 69
_CLOSURE: Final = 79
_OPERATION: Final = 0x7F
_BX_AT: Final = 15
#: Ends of blocks, calls and tables, and nothing else.
_CLOSING: Final = re.compile(rb"\s*(?:(?:\bend\b|[)},;])\s*)+(?:--.*)?\Z")


@frozen
class Lines:
    """The lines of a file that can run, and at which line a function is made, by the line where it begins."""

    executable: frozenset[int]
    _made_at: frozenset[tuple[int, int]] = field(default=frozenset())

    def ran(self, noted: Iterable[int]) -> set[int]:
        """Those of the executable lines that ran, from the lines that Lua says it came to."""
        found = set(noted)
        found.update([begin for begin, end in self._made_at if end in found])
        return found & self.executable


def lines_of(path: Path) -> Lines:
    """The lines of a file."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PolicyError(f"cannot read {path}: {error.strerror}") from None
    if source.startswith(b"#"):
        source = b"--" + source
    dumped = _dumper()(source, b"@" + str(path).encode())
    if isinstance(dumped, tuple):
        raise PolicyError(dumped[1].decode(errors="replace"))
    lines: set[int] = set()
    made: set[tuple[int, int]] = set()
    _Dump(dumped).read_function(lines, made)
    closing = {number for number, text in enumerate(source.split(b"\n"), 1) if _CLOSING.match(text)}
    return Lines(frozenset(lines | {begin for begin, _ in made}) - closing, frozenset(made))


@cache
def _dumper() -> Callable[..., Any]:
    import lupa.lua54 as lupa

    runtime = lupa.LuaRuntime(encoding=None, register_eval=False, register_builtins=False, unpack_returned_tuples=True)
    compiled: Callable[..., Any] = runtime.compile(_DUMP)
    return compiled


class _Dump:
    """Reads a dumped chunk from front to back."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = _HEADER + 1

    def read_function(self, lines: set[int], made: set[tuple[int, int]]) -> int:
        """Add the lines of a function and of those inside, and where those are made; the line where it begins."""
        self._string()
        defined = self._number()
        self._number()
        is_vararg = self._take(3)[1]
        code = struct.unpack(f"={(count := self._number())}I", self._take(4 * count))
        for _ in range(self._number()):
            self._constant()
        self._take(3 * self._number())
        inside = [self.read_function(lines, made) for _ in range(self._number())]
        differences = struct.unpack(f"{(count := self._number())}b", self._take(count))
        absolute = {self._number(): self._number() for _ in range(self._number())}
        for _ in range(self._number()):
            self._string()
            self._number()
            self._number()
        for _ in range(self._number()):
            self._string()
        unreached = {len(code) - 1, *(at + 1 for at, one in enumerate(code) if one & _OPERATION == _TAIL_CALL)}
        if is_vararg:
            unreached.add(0)  # it sets the arguments up, on no line of its own
        for at, line in enumerate(_lines(defined, differences, absolute)):
            if code[at] & _OPERATION == _CLOSURE:
                made.add((inside[code[at] >> _BX_AT], line))
            elif at not in unreached:
                lines.add(line)
        return defined

    def _constant(self) -> None:
        kind = self._take(1)[0]
        if kind in _NUMBERS:
            self._take(8)
        elif kind in _STRINGS:
            self._string()

    def _string(self) -> None:
        self._take(max(0, self._number() - 1))

    def _number(self) -> int:
        value = 0
        while True:
            octet = self._take(1)[0]
            value = value << 7 | octet & 0x7F
            if octet & 0x80:
                return value

    def _take(self, count: int) -> bytes:
        self._at += count
        return self._octets[self._at - count : self._at]


def _lines(defined: int, differences: tuple[int, ...], absolute: dict[int, int]) -> Iterator[int]:
    """The line of each instruction of a function."""
    line = defined
    for position, difference in enumerate(differences):
        line = absolute[position] if difference == _ABSOLUTE else line + difference
        yield line

"""Which lines of a Lua file hold code that can run: what a count of lines that ran is measured against.

Lua compiles the file and dumps it; the line of every instruction stands in the
dump (`ldump.c` of Lua 5.4). Nothing of the file runs. The last instruction of
a function is the return that Lua adds, and nothing comes back to the one behind
a tail call: a line with these alone does not count.

Public: `executable_lines`. Raises PolicyError for a file that is no Lua.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from kumotwist.core.errors import PolicyError

_DUMP: Final = b"local s, n = ... local f, e = load(s, n, 't') if not f then return nil, e end return string.dump(f)"
#: A difference to the line before of this value: the line stands in the table of whole numbers (`ldebug.h`).
_ABSOLUTE: Final = -128
#: Octets before the number of upvalues: mark, version, format, check data, three sizes, two check numbers.
_HEADER: Final = 4 + 1 + 1 + 6 + 3 + 8 + 8
#: Octets of a constant behind its type: floats and integers; strings tell their own length.
_NUMBERS: Final = (3, 19)
_STRINGS: Final = (4, 20)
#: OP_TAILCALL, in the lowest seven bits of an instruction (`lopcodes.h`).
_TAIL_CALL: Final = 69


def executable_lines(path: Path) -> frozenset[int]:
    """The numbers of the lines that can run."""
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
    _Dump(dumped).read_function(lines)
    return frozenset(lines)


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

    def read_function(self, lines: set[int]) -> None:
        """Add the lines of a function and of those inside."""
        self._string()
        defined = self._number()
        self._number()
        is_vararg = self._take(3)[1]
        code = self._take(4 * self._number())[::4]
        for _ in range(self._number()):
            self._constant()
        self._take(3 * self._number())
        for _ in range(self._number()):
            self.read_function(lines)
        differences = struct.unpack(f"{(count := self._number())}b", self._take(count))
        absolute = {self._number(): self._number() for _ in range(self._number())}
        for _ in range(self._number()):
            self._string()
            self._number()
            self._number()
        for _ in range(self._number()):
            self._string()
        unreached = {len(code) - 1, *(position + 1 for position, one in enumerate(code) if one & 0x7F == _TAIL_CALL)}
        if is_vararg:
            unreached.add(0)  # it sets the arguments up, on no line of its own
        of_code = enumerate(_lines(defined, differences, absolute))
        lines.update(line for position, line in of_code if position not in unreached)

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

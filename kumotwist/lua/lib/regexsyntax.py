r"""Rust's regular expression syntax (regex and fancy-regex crates) in terms of the `regex` package.

Most is the same in both. Translated here: `$` (only the very end without
multi-line mode), `\x{..}` and `\u{..}`, `\h` (a hex digit), `\z` and `\Z`; what
`regex` knows but Rust does not is left to fail or match by its own rules.

Public: `translate`, `escape`, `expand`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

#: An escape, a class bracket, a group's flags, a dollar: all that translation looks at.
_TOKEN: Final = re.compile(
    r"""\\(?:[xu]\{(?P<code>[0-9A-Fa-f_]+)\}|(?P<escape>.))
      |(?P<flags>\(\?[A-Za-z]*m[A-Za-z]*(?:-[A-Za-z]*)?[:)])
      |(?P<open>\[\^?\]?)|(?P<close>\])|(?P<end>\$)""",
    re.VERBOSE | re.DOTALL,
)
_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$#&\-~]")
#: A reference in a replacement: `$$`, `$name` (the longest name) or `${name}`.
_REFERENCE: Final = re.compile(r"\$(?:(?P<dollar>\$)|(?P<name>[0-9A-Za-z_]+)|\{(?P<braced>[^{}]+)\})")
_HEX_DIGIT: Final = {False: "[0-9A-Fa-f]", True: "0-9A-Fa-f"}


def translate(pattern: str) -> str:
    """The pattern for `regex` in its version 1 behaviour. Raises ValueError for an impossible code point."""
    depth, is_multiline, parts, position = 0, False, [], 0
    for match in _TOKEN.finditer(pattern):
        parts.append(pattern[position : match.start()])
        position = match.end()
        piece = match[0]
        if match["open"]:
            # `[]` and `[^]` begin a class that holds `]`, at its outer level only.
            piece = piece if depth == 0 or not piece.endswith("]") else piece[:-1] + "\\]"
            depth += 1
        elif match["close"]:
            depth = max(0, depth - 1)
        elif match["flags"] and depth == 0:
            is_multiline = True
        elif match["end"] and depth == 0 and not is_multiline:
            piece = r"\Z"
        elif match["code"]:
            piece = f"\\U{_code_point(match['code']):08x}"
        elif match["escape"]:
            piece = _escape_of(match["escape"], depth > 0)
        parts.append(piece)
    return "".join(parts) + pattern[position:]


def _escape_of(letter: str, in_class: bool) -> str:
    if letter == "z":
        return r"\Z"
    if letter == "Z" and not in_class:
        return r"(?=\n?\Z)"
    return _HEX_DIGIT[in_class] if letter == "h" else f"\\{letter}"


def _code_point(digits: str) -> int:
    number = int(digits.replace("_", ""), 16)
    if number > 0x10FFFF:
        raise ValueError(f"there is no character {digits}")
    return number


def escape(source: str) -> str:
    """`source` as a pattern that matches just it."""
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", source)


def expand(template: str, group: Callable[[str], str]) -> str:
    """`template` with `$name`, `${name}` and `$1` replaced by `group(name)`, and `$$` by a dollar sign."""
    return _REFERENCE.sub(lambda match: "$" if match["dollar"] else group(match["name"] or match["braced"]), template)

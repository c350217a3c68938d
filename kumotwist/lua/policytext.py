"""The text of a policy: its file and those beside it that it requires, for what is told without running them.

Public: `files_of`, `without_texts`, `line_of`, `TEXT`. Nothing goes wrong: a file that cannot be read is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: Files of one policy that are read. Ours: far above what anybody requires.
_MAX_FILES: Final = 200
#: A text (Lua 5.4 s3.1), with a group of its own for what closes a long one.
TEXT: Final = r"""\[(?P<t>=*)\[.*?\](?P=t)\]|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'"""
#: Comments and texts, so that neither is taken for the other.
_ASIDE: Final = re.compile(
    rf"(?P<comment>--\[(?P<c>=*)\[.*?\](?P=c)\]|--[^\n]*)|(?P<text>{TEXT})",
    re.DOTALL,
)
_REQUIRED: Final = re.compile(r"""\brequire\s*\(?\s*(["'])([\w.-]+)\1""")


def files_of(policy: Path) -> Iterator[tuple[Path, str]]:
    """Each file with its code, from which comments are gone; lines are as they were."""
    files, seen = [policy], {policy}
    for file in files:
        try:
            code = _without_comments(file.read_text("utf-8", "replace"))
        except OSError:
            continue
        yield file, code
        for match in _REQUIRED.finditer(code):
            module = policy.parent / match[2].replace(".", "/")
            for path in (module.with_name(module.name + ".lua"), module / "init.lua"):
                if path not in seen and len(files) < _MAX_FILES:
                    seen.add(path)
                    files.append(path)


def without_texts(code: str) -> str:
    """The code without what stands in quotes."""
    return _ASIDE.sub(lambda match: _blank(match[0]), code)


def line_of(code: str, position: int) -> int:
    """The line at which that character stands, from 1."""
    return code.count("\n", 0, position) + 1


def _without_comments(code: str) -> str:
    return _ASIDE.sub(lambda match: _blank(match[0]) if match["comment"] else match[0], code)


def _blank(text: str) -> str:
    return "\n" * text.count("\n") or " "

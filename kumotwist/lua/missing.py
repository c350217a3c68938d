"""What a policy's text names that KumoMTA has and kumotwist lacks: told before the first message comes upon it.

Read are the policy and the files beside it that it requires, without comments and texts.

Public: `missing_names`. Nothing goes wrong: a file that cannot be read is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kumotwist.lua.refused import FUNCTIONS, MESSAGE_METHODS

_FUNCTIONS: Final = frozenset(
    ".".join(filter(None, ("kumo", table, name))) for table, names in FUNCTIONS.items() for name in names.split()
)
_METHODS: Final = frozenset(MESSAGE_METHODS)
#: Files of one policy that are read. Ours: far above what anybody requires.
_MAX_FILES: Final = 200
#: Comments and texts, so that neither is taken for the other (Lua 5.4 s3.1).
_ASIDE: Final = re.compile(
    r"""(?P<comment>--\[(?P<c>=*)\[.*?\](?P=c)\]|--[^\n]*)
      | (?P<text>\[(?P<t>=*)\[.*?\](?P=t)\]|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')""",
    re.DOTALL | re.VERBOSE,
)
_REQUIRED: Final = re.compile(r"""\brequire\s*\(?\s*(["'])([\w.-]+)\1""")
_NAME: Final = re.compile(r"(?<![\w.:])kumo(?:\.\w+)+|:(?P<method>\w+)\s*[({]")


def missing_names(policy: Path) -> Iterator[str]:
    """`file:line: name …` for each such name, at its first place in each file."""
    files, seen = [policy], {policy}
    for file in files:
        try:
            code = _without_comments(file.read_text("utf-8", "replace"))
        except OSError:
            continue
        yield from _found(file, _without_texts(code))
        for match in _REQUIRED.finditer(code):
            module = policy.parent / match[2].replace(".", "/")
            for path in (module.with_name(module.name + ".lua"), module / "init.lua"):
                if path not in seen and len(files) < _MAX_FILES:
                    seen.add(path)
                    files.append(path)


def _found(file: Path, code: str) -> Iterator[str]:
    told = set()
    for match in _NAME.finditer(code):
        method = match["method"]
        name = f"message:{method}" if method in _METHODS else match[0]
        if name not in told and (name in _FUNCTIONS or method in _METHODS):
            told.add(name)
            line = code.count("\n", 0, match.start()) + 1
            yield f"{file}:{line}: {name} is known to KumoMTA but not supported by kumotwist"


def _without_comments(code: str) -> str:
    return _ASIDE.sub(lambda match: _blank(match[0]) if match["comment"] else match[0], code)


def _without_texts(code: str) -> str:
    return _ASIDE.sub(lambda match: _blank(match[0]), code)


def _blank(text: str) -> str:
    return "\n" * text.count("\n") or " "

"""What a policy's text names that KumoMTA has and kumotwist lacks: told before the first message comes upon it.

Public: `missing_names`. Nothing goes wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kumotwist.lua.policytext import files_of, line_of, without_texts
from kumotwist.lua.refused import FUNCTIONS, MESSAGE_METHODS

_FUNCTIONS: Final = frozenset(
    ".".join(filter(None, ("kumo", table, name))) for table, names in FUNCTIONS.items() for name in names.split()
)
_METHODS: Final = frozenset(MESSAGE_METHODS)
_NAME: Final = re.compile(r"(?<![\w.:])kumo(?:\.\w+)+|:(?P<method>\w+)\s*[({]")


def missing_names(policy: Path) -> Iterator[str]:
    """`file:line: name …` for each such name, at its first place in each file."""
    for file, code in files_of(policy):
        yield from _found(file, without_texts(code))


def _found(file: Path, code: str) -> Iterator[str]:
    told = set()
    for match in _NAME.finditer(code):
        method = match["method"]
        name = f"message:{method}" if method in _METHODS else match[0]
        if name not in told and (name in _FUNCTIONS or method in _METHODS):
            told.add(name)
            yield f"{file}:{line_of(code, match.start())}: {name} is known to KumoMTA but not supported by kumotwist"

"""Environment variables that a policy's text asks for, with nothing that stands in for them, and that are not set.

What `os.getenv` does not find is nil, and a nil entry of a table is none: the
option has its default, and nobody says why. Whether that is meant only the
author knows, and the daemon may have what is missing here; so it is a note and
no more. Where `or` follows there is a default, and nothing to say.

Public: `unset_variables`. Nothing goes wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kumotwist.lua.policytext import TEXT, files_of, line_of

#: A variable that is asked for by its name, or any other text.
_TOKEN: Final = re.compile(
    rf"""(?<![\w.:])os\.getenv\s*\(?\s*(?P<q>["'])(?P<name>\w+)(?P=q)\s*+\)?+(?!\s*or\b)|{TEXT}""",
    re.DOTALL,
)


def unset_variables(policy: Path, environ: Callable[[str], str | None]) -> str | None:
    """Their names, each with the line that asks first; None when there is none."""
    found: dict[str, str] = {}
    for file, code in files_of(policy):
        for match in _TOKEN.finditer(code):
            if match["name"] is not None and environ(match["name"]) is None:
                found.setdefault(match["name"], f"{file.name}:{line_of(code, match.start())}")
    if not found:
        return None
    return f"os.getenv finds nothing here for {', '.join(f'{name} ({place})' for name, place in found.items())}"

"""Lines for a terminal, of texts that came from messages, logs and policies.

A header may hold what would move the cursor, name the window or forge a line;
none of it reaches the terminal.

Public: `for_people`. Nothing can go wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

#: What is no text: C0 without tab and newline, DEL, C1, unpaired surrogates, and what turns the direction of writing.
_NO_TEXT: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
#: Further lines of a text stand below its first.
_INDENT: Final = "\n" + " " * 17


def for_people(lines: Iterable[str]) -> str:
    """The lines as one text, with `?` for what is no text."""
    shown = (_NO_TEXT.sub("?", line.replace("\r\n", "\n")).replace("\n", _INDENT) for line in lines)
    return "\n".join((*shown, ""))

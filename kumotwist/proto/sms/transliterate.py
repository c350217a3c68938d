"""Look-alikes from the GSM alphabet for characters outside it, to spare a UCS-2 message.

One such character more than doubles the price of a text (160 characters to a
segment become 70), and most often it is a typographic quote that nobody typed.

Public: `to_gsm`.
"""

# Look-alikes are the matter here.
# ruff: noqa: RUF001

from __future__ import annotations

import unicodedata
from typing import Final

from kumotwist.proto.sms import gsm

#: Where decomposition finds nothing, or something too long. An empty text drops the character.
_LOOK_ALIKES: Final = str.maketrans(
    dict.fromkeys("‘’‚‛′`´ʼʹ", "'")
    | dict.fromkeys("“”„‟″«»", '"')
    | {"‹": "<", "›": ">"}
    | dict.fromkeys("‐‑‒–—―−⁃", "-")
    | dict.fromkeys("•·∙●▪", "*")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0e\ufe0f", "")
    | dict.fromkeys("\u2028\u2029", "\n")
    | {"đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "ł": "l", "Ł": "L", "ħ": "h", "Ħ": "H", "ŧ": "t", "Ŧ": "T"}
    | {"ı": "i", "ĸ": "k", "ŋ": "n", "Ŋ": "N", "œ": "oe", "Œ": "OE", "þ": "th", "Þ": "Th", "ẞ": "SS", "ſ": "s"}
    | {"©": "(c)", "®": "(R)", "™": "TM", "…": "...", "×": "x", "÷": "/", "¢": "c", "⁄": "/", "°": "o", "µ": "u"}
    | {"←": "<-", "→": "->", "✓": "v", "¦": "|", "¬": "-", "≤": "<=", "≥": ">=", "≠": "!="}
)  # fmt: skip


def to_gsm(text: str) -> str | None:
    """`text` in characters of the GSM alphabet, or None when some have no look-alike there."""
    found = text.translate(_LOOK_ALIKES)
    if gsm.encode(found) is None:
        found = "".join(_nearest(char) for char in unicodedata.normalize("NFC", found))
    return None if gsm.encode(found) is None else found


def _nearest(char: str) -> str:
    """`char` itself, or without what decorates it (é stays, ê becomes e)."""
    if gsm.encode(char) is not None:
        return char
    bare = "".join(part for part in unicodedata.normalize("NFKD", char) if not unicodedata.combining(part))
    return bare.translate(_LOOK_ALIKES) or char

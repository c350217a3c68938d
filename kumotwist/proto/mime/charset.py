"""Octets of a text part into text, whatever the part says about them.

Senders lie about charsets, so a wrong label costs a few characters and never
the message. What browsers read as something wider than its label (Latin-1 as
Windows-1252, GB2312 as GB18030) is read so here.

Public: `decode_text`, `Reading`, `clean`. Nothing goes wrong: what cannot be
decoded is replaced with U+FFFD, and `Reading` says so.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from typing import Final

from attrs import frozen

#: Labels that mean "I do not know", as programs write them.
_UNLABELLED: Final = frozenset(("", "unknown", "unknown-8bit", "x-unknown", "default", "none", "binary", "8bit"))
_WIDER: Final = {
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "gb2312": "gb18030",
    "gb_2312-80": "gb18030",
    "x-gbk": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "euc-kr": "cp949",
    "shift_jis": "cp932",
    "x-sjis": "cp932",
    "iso-2022-jp": "iso2022_jp_ext",
    "iso-8859-8-i": "iso8859-8",
    "iso-8859-9": "cp1254",
    "windows-874": "cp874",
    "unicode-1-1-utf-7": "utf-7",
    "utf8mb4": "utf-8",
    "cp-850": "cp850",
    "big5": "big5hkscs",
}
_LABEL: Final = re.compile(r"[A-Za-z0-9_.:+-]{1,40}\Z")
#: Python has codecs that are no charsets: slow ones (idna) and such as run escapes (unicode_escape).
_CHARSETS: Final = re.compile(
    r"(?:utf-(?:7|8|8-sig|16|16-be|16-le|32|32-be|32-le)|ascii|iso8859-\d+|cp\d+|koi8-\w|gb\w+|big5\w*|euc_\w+"
    r"|shift_\w+|iso2022_\w+|tis-620|mac-\w+|hz|johab|ptcp154|kz1048|hp-roman8)\Z"
)
#: What JSON cannot carry (halves of surrogate pairs) or nobody displays (NUL).
_UNFIT: Final = re.compile("[\0\ud800-\udfff]")


@frozen
class Reading:
    """A decoded text; `is_known` when its charset was, `is_whole` when nothing had to be replaced."""

    text: str
    is_known: bool = True
    is_whole: bool = True


def decode_text(data: bytes, label: str) -> Reading:
    """`data` as text. `label` is the charset parameter, "" when there is none; a byte order mark is dropped."""
    if (
        data.isascii()
        and b"\x1b" not in data
        and not label.lower().startswith(("utf-7", "utf-16", "utf-32", "unicode", "hz"))
    ):
        return Reading(clean(data.decode("ascii")), codec_of(label) is not None or _is_unlabelled(label))
    codec = codec_of(label)
    if codec is None:
        return _guessed(data, is_known=_is_unlabelled(label))
    try:
        return Reading(clean(data.decode(codec)))
    except UnicodeError:
        # A wrong label is far more common than damage: many programs label UTF-8 as something else.
        guess = _guessed(data, is_known=True)
        return (
            guess if guess.is_whole and codec != "utf-8" else Reading(clean(data.decode(codec, "replace")), True, False)
        )


@lru_cache(maxsize=256)
def codec_of(label: str) -> str | None:
    """Python's name of the codec for a charset label in any case; None when it is unknown or no charset."""
    name = label.strip().lower()
    if not _LABEL.match(name):
        return None
    try:
        found = codecs.lookup(_WIDER.get(name, name)).name
    except LookupError:
        return None
    return found if _CHARSETS.match(found) else None


def clean(text: str) -> str:
    """`text` without a byte order mark at its start, NUL and lone surrogates."""
    if text.startswith("\ufeff"):
        text = text[1:]
    return _UNFIT.sub("", text) if _UNFIT.search(text) else text


def _is_unlabelled(label: str) -> bool:
    return label.strip().lower() in _UNLABELLED


def _guessed(data: bytes, is_known: bool) -> Reading:
    """UTF-8 if it is that, for hardly anything else looks like it; else Windows-1252."""
    try:
        return Reading(clean(data.decode("utf-8")), is_known)
    except UnicodeDecodeError:
        return Reading(clean(data.decode("cp1252", "replace")), is_known, False)

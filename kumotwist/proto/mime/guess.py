"""The charset of text that names none, or a wrong one: a guess, with bounds.

Public: `Guess`. Nothing goes wrong: None when nothing fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from charset_normalizer import from_bytes

from kumotwist.proto.mime.charset import codec_of
from kumotwist.proto.mime.conformance import strict_text

#: Octets shown to the detector. Ours: it tries some ninety charsets, which takes it 0.1 s for so much.
MAX_SAMPLE: Final = 8_192
#: Detections for one message. Ours: bodies of one message have one charset, or few.
MAX_GUESSES: Final = 4


class Guess:
    """Guesses for one message: charsets of `include` only (empty: any), none of `exclude`."""

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include = list(include)
        self._exclude = list(exclude)
        self._left = MAX_GUESSES
        self._last: str | None = None

    def text(self, octets: bytes) -> str | None:
        """`octets` as text in the charset that fits best, or None."""
        if self._left > 0:
            self._left -= 1
            self._last = self._detect(octets)
        candidates = [self._last, *(codec_of(name) for name in self._include)]
        texts = (strict_text(octets, codec) for codec in candidates if codec is not None)
        return next((text for text in texts if text is not None), None)

    def _detect(self, octets: bytes) -> str | None:
        sample = _telling(octets)
        best = from_bytes(
            sample, cp_isolation=self._include or None, cp_exclusion=self._exclude or None, enable_fallback=False
        ).best()
        return None if best is None else codec_of(best.encoding)


def _telling(octets: bytes) -> bytes:
    """The lines that are not ASCII, as far as they are shown; a cut falls where no character can be split."""
    if len(octets) <= MAX_SAMPLE:
        return octets
    lines, size = [], 0
    for line in octets.split(b"\n"):
        if not line.isascii():
            lines.append(line)
            size += len(line) + 1
        if size >= MAX_SAMPLE:
            break
    sample = b"\n".join(lines)[:MAX_SAMPLE]
    # The last ASCII blank or mark: below 0x40 no charset has the second octet of a character.
    end = max(sample.rfind(mark) for mark in (b" ", b"\n", b".", b","))
    return sample[:end] if end > 0 else sample

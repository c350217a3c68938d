"""What nobody can see: blanks, controls, and characters without a picture. Pure.

Public: `is_blank`.
"""

from __future__ import annotations

import re
from typing import Final

#: White space and controls; Default_Ignorable_Code_Point of Unicode 15 (DerivedCoreProperties.txt); the Braille
#: pattern without a dot, and what stands for an object that is not there.
_UNSEEN: Final = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\ufffc"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*\Z"
)


def is_blank(text: str) -> bool:
    """Whether a reader sees nothing of `text`."""
    return _UNSEEN.match(text) is not None

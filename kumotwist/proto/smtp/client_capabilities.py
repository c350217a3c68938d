"""What a server offers in its EHLO reply (RFC 5321 s4.1.1.1).

Public: `Capabilities`, `NONE`.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen
class Capabilities:
    """The extensions of one EHLO reply; keywords are in capitals."""

    keywords: frozenset[str] = frozenset()
    has_pipelining: bool = False
    has_starttls: bool = False
    has_8bitmime: bool = False
    has_smtputf8: bool = False

    @classmethod
    def parse(cls, text: str) -> Capabilities:
        """From the text of the reply, whose first line is the greeting."""
        words = (line.split(maxsplit=1) for line in text.split("\n")[1:])
        keywords = frozenset(word[0].upper() for word in words if word)
        return cls(
            keywords,
            has_pipelining="PIPELINING" in keywords,
            has_starttls="STARTTLS" in keywords,
            has_8bitmime="8BITMIME" in keywords,
            has_smtputf8="SMTPUTF8" in keywords,
        )


#: What is known before EHLO and again right after STARTTLS (RFC 3207 s4.2).
NONE: Final = Capabilities()

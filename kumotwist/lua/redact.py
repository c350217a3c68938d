"""Keeps secrets out of what policy says: its log lines, its prints, its errors and its rejections.

`kumo.secrets.load` gives a plain string, as KumoMTA does, so that policies can
join it to what they need. So `print(secret)`, `tostring` in a log line or an
error that quotes a request would show it. What was loaded is remembered here,
and stands as `<secret>` in every text that leaves policy for people.

Public: `Redactor`. What it cannot do: see a secret that policy has encoded or cut.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from attrs import define, field

#: Octets below which a value is not looked for: in place of a short word half a log would be blanked out.
_SHORTEST: Final = 8
#: Octets above which it is not: nobody logs a chain of certificates, and looking for it costs.
_LONGEST: Final = 4096
#: Values remembered, the least recently loaded going first; far above any policy's use.
_MOST: Final = 256
_SHOWN: Final = "<secret>"


@define(eq=False)
class Redactor:
    """The secrets that policy has loaded."""

    _values: OrderedDict[str, None] = field(factory=OrderedDict, init=False, repr=False)

    def add(self, secret: bytes) -> None:
        """Show it no more; with and without the line break that a file ends in."""
        value = secret.decode(errors="replace").strip()
        if not _SHORTEST <= len(value) <= _LONGEST:
            return
        self._values[value] = None
        self._values.move_to_end(value)
        if len(self._values) > _MOST:
            self._values.popitem(last=False)

    def clean(self, text: str) -> str:
        """`text` without secrets."""
        for value in self._values:
            if value in text:
                text = text.replace(value, _SHOWN)
        return text

"""What a test asks of log records: types and fields that there are, since a misspelt one is never found.

Public: `check_type`, `check_fields`. Both raise ValueError, and say what may have been meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from kumotwist.config.structure import hint
from kumotwist.core.records import RecordType
from kumotwist.records.dispositions import PARTS, JsonRecord

#: By the name of a field that is a table: what that has.
_PARTS: Final[Mapping[str, Sequence[str]]] = {
    **{name: kind.__struct_encode_fields__ for name, kind in PARTS.items()},
    "route_change": ("what", "before", "after", "evidence"),
    "fallback": ("table", "from", "to", "reason", "evidence"),
}


def check_type(kind: str) -> None:
    """Raise ValueError unless records of this type may be written."""
    known = [one.value for one in RecordType]
    if kind not in known:
        raise ValueError(f"there are no {kind!r} records{_meant(kind, known)}")


def check_fields(fields: Mapping[str, object]) -> None:
    """Raise ValueError unless records may have these fields, and the tables within them theirs."""
    _check(fields, JsonRecord.__struct_encode_fields__, "a record")
    for name, value in fields.items():
        if name in _PARTS and isinstance(value, Mapping):
            _check(value, _PARTS[name], f"the {name} of a record")


def _check(fields: Iterable[str], known: Sequence[str], what: str) -> None:
    for name in fields:
        if name not in known:
            raise ValueError(f"{what} has no field {name!r}{_meant(name, known)}")


def _meant(name: str, known: Sequence[str]) -> str:
    return hint(name, known) or f"; there are {', '.join(known)}"

"""Plain values: what JSON, TOML and YAML have in common with Lua tables.

Used by `kumo.serde`, `kumo.digest` and `kumo.memoize`. Public: `plain`,
`encode_json`, `MAX_NODES`. Errors are ValueError.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Final

import msgspec

from kumotwist.core.json import Json

#: Values in one document, counted with repetitions: bounds what a few lines of
#: YAML aliases can grow into. Above any shaping file or tenant list.
MAX_NODES: Final = 1_000_000
MAX_DEPTH: Final = 64
_INT64: Final = 1 << 63
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


def plain(value: object, what: str) -> Json:
    """A copy of `value` made of JSON types only.

    Binary strings must be UTF-8; dates become RFC 3339 text; integers beyond
    64 bits, which Lua lacks, become floats. Raises ValueError naming `what`.
    """
    return _Copy(what).of(value, 0)


def encode_json(value: object) -> str:
    """Compact JSON of a Lua value. Raises ValueError.

    The C encoder takes what nearly every table is made of; the careful way is
    for what it refuses: binary strings, infinities, things that are no values.
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError):
        return msgspec.json.encode(plain(value, "the value")).decode()


class _Copy:
    def __init__(self, what: str) -> None:
        self._what = what
        self._left = MAX_NODES

    def of(self, value: object, depth: int) -> Json:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"{self._what} has more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise ValueError(f"{self._what} is nested deeper than {MAX_DEPTH} levels")
        if value is None or isinstance(value, (bool, float, str)):
            return value
        if isinstance(value, int):
            return value if -_INT64 <= value < _INT64 else float(value)
        if isinstance(value, (list, tuple)):
            return [self.of(one, depth + 1) for one in value]
        if isinstance(value, Mapping):
            return {self._key(key): self.of(one, depth + 1) for key, one in value.items()}
        return self._scalar(value)

    def _scalar(self, value: object) -> str:
        if isinstance(value, bytes):
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise ValueError(f"{self._what} holds a binary string, which is not UTF-8") from None
        if isinstance(value, (dt.datetime, dt.date, dt.time)):
            return value.isoformat()
        raise ValueError(f"{self._what} holds {_kind(value)}, which cannot be encoded")

    def _key(self, key: object) -> str:
        if isinstance(key, bool) or key is None:
            return {True: "true", False: "false", None: "null"}[key]
        if isinstance(key, (str, int, float)):
            return str(key)
        return self._scalar(key)


def _kind(value: object) -> str:
    return "a function" if callable(value) else f"an object ({type(value).__name__})"

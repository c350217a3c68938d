"""Request bodies: inflating them within a limit.

Public: `inflate`. What can go wrong: `HttpError` 400 for damaged data, 413 past
the limit, 415 for an encoding that we do not know.
"""

from __future__ import annotations

import zlib
from typing import Final

from kumotwist.net.router import HttpError

#: KumoMTA's text for a body past `request_body_limit`.
TOO_LARGE: Final = "Failed to buffer the request body: length limit exceeded"
#: zlib window bits that expect a gzip header, and a zlib header ("deflate", RFC 9110 s8.4.1.2).
_WINDOWS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def inflate(body: bytes, encoding: str | None, limit: int) -> bytes:
    """`body` without its Content-Encoding, at most `limit` octets.

    Inflating stops at the limit, so a bomb costs no more than that. Raises
    HttpError.
    """
    name = (encoding or "identity").strip().lower()
    if name in ("identity", ""):
        return body
    window = _WINDOWS.get(name)
    if window is None:
        raise HttpError(415, f"unsupported Content-Encoding {name[:64]!r}", {"Accept-Encoding": "gzip,deflate"})
    inflated, rest = bytearray(), body
    while rest:
        engine = zlib.decompressobj(window)
        try:
            inflated += engine.decompress(rest, limit + 1 - len(inflated))
        except zlib.error as error:
            raise HttpError(400, f"Failed to buffer the request body: {error}") from None
        if len(inflated) > limit:
            raise HttpError(413, TOO_LARGE)
        if not engine.eof:
            raise HttpError(400, "Failed to buffer the request body: the compressed data ends too soon")
        # RFC 1952 s2.2: a gzip file may hold several members, one after the other.
        rest = engine.unused_data if window == _WINDOWS["gzip"] else b""
    return bytes(inflated)

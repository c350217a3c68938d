"""`kumo.digest`: hashes and keyed hashes."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b32encode, b32hexencode, b64encode, urlsafe_b64encode
from collections.abc import Mapping

from attrs import field, frozen

from kumotwist.config.structure import key_source
from kumotwist.core.interfaces import KeyLoader
from kumotwist.lua.binding import Function, binary, facade, octets
from kumotwist.lua.lib.plain import encode_json, plain

_ENCODINGS = (
    *("base32", "base32_nopad", "base32hex", "base32hex_nopad"),
    *("base64", "base64_nopad", "base64url", "base64url_nopad", "bytes", "hex"),
)


@facade("digest", fields=_ENCODINGS, meta={"__tostring": "text", "__eq": "equals"})
@frozen
class Digest:
    """The bytes of a hash, in the encodings people ask for."""

    bytes: bytes = field(repr=False)

    @property
    def hex(self) -> str:
        """Lower-case hex digits."""
        return self.bytes.hex()

    @property
    def base32(self) -> str:
        """RFC 4648 s6."""
        return b32encode(self.bytes).decode("ascii")

    @property
    def base32_nopad(self) -> str:
        """base32 without padding."""
        return self.base32.rstrip("=")

    @property
    def base32hex(self) -> str:
        """RFC 4648 s7: sorts as the bytes do."""
        return b32hexencode(self.bytes).decode("ascii")

    @property
    def base32hex_nopad(self) -> str:
        """base32hex without padding."""
        return self.base32hex.rstrip("=")

    @property
    def base64(self) -> str:
        """RFC 4648 s4."""
        return b64encode(self.bytes).decode("ascii")

    @property
    def base64_nopad(self) -> str:
        """base64 without padding."""
        return self.base64.rstrip("=")

    @property
    def base64url(self) -> str:
        """RFC 4648 s5: safe in URLs and file names."""
        return urlsafe_b64encode(self.bytes).decode("ascii")

    @property
    def base64url_nopad(self) -> str:
        """base64url without padding."""
        return self.base64url.rstrip("=")

    def text(self) -> str:
        """The hex digits."""
        return self.hex

    def equals(self, other: object) -> bool:
        """Whether both are the same bytes."""
        return isinstance(other, Digest) and hmac.compare_digest(self.bytes, other.bytes)


class DigestLibrary:
    """The functions of `kumo.digest`; `keys` resolves the key of an HMAC."""

    namespace = "digest"

    def __init__(self, keys: KeyLoader) -> None:
        self._keys = keys

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"hmac_sha256": self.hmac_sha256, "sha1": self.sha1, "sha256": self.sha256}

    async def hmac_sha256(self, key: object, message: object) -> Digest:
        """The HMAC (RFC 2104) of the message with SHA-256; the key is a key source."""
        data = octets(message, "message")
        secret = await self._keys.load(key_source(key, "kumo.digest.hmac_sha256"))
        return Digest(hmac.digest(secret, data, "sha256"))

    @binary
    def sha1(self, *args: object) -> Digest:
        """SHA-1 over all arguments: strings as their bytes, everything else as JSON."""
        return Digest(hashlib.sha1(_joined(args), usedforsecurity=False).digest())

    @binary
    def sha256(self, *args: object) -> Digest:
        """SHA-256 over all arguments: strings as their bytes, everything else as JSON."""
        return Digest(hashlib.sha256(_joined(args)).digest())


def _joined(args: tuple[object, ...]) -> bytes:
    return b"".join(one if isinstance(one, bytes) else encode_json(_texts(one)).encode() for one in args)


def _texts(value: object) -> object:
    """Strings came as bytes; JSON is made of texts."""
    return plain(value, "an argument")

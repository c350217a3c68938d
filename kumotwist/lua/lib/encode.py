"""`kumo.encode`: base64 and hex, RFC 4648; decoding is strict and gives binary strings."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from kumotwist.lua.binding import Function, binary, octets


class EncodeLibrary:
    """The functions of `kumo.encode`."""

    namespace = "encode"

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {
            "base64_decode": self.base64_decode,
            "base64_encode": self.base64_encode,
            "hex_decode": self.hex_decode,
            "hex_encode": self.hex_encode,
        }

    @binary
    def base64_decode(self, string: object) -> bytes:
        """The bytes of a padded base64 string."""
        try:
            return base64.b64decode(octets(string, "string"), validate=True)
        except binascii.Error as error:
            raise ValueError(f"not base64: {error}") from None

    @binary
    def base64_encode(self, string: object) -> str:
        """The string's bytes in base64, padded."""
        return base64.b64encode(octets(string, "string")).decode("ascii")

    @binary
    def hex_decode(self, string: object) -> bytes:
        """The bytes of a string of hex digits of either case."""
        try:
            return binascii.unhexlify(octets(string, "string"))
        except binascii.Error as error:
            raise ValueError(f"not hex: {error}") from None

    @binary
    def hex_encode(self, string: object) -> str:
        """The string's bytes in lower-case hex digits."""
        return octets(string, "string").hex()

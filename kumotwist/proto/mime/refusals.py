"""Which messages must stay MIME: signed, encrypted, or only a piece or a pointer.

Public: `refusal`. A signature made over the MIME does not survive being built
anew, and what is encrypted has no text to hand over. PGP in the text itself
(RFC 4880 s7, ASCII armour) is text and passes; a .p7m file that somebody
attached is a file and passes, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kumotwist.proto.mime.tree import Node

#: RFC 1847, RFC 3156; RFC 2046 s5.2.2 and s5.2.3.
_REASONS: Final = {
    "multipart/signed": "it is signed (multipart/signed), and a signature does not survive being taken apart",
    "multipart/encrypted": "it is encrypted (multipart/encrypted)",
    "application/pgp-encrypted": "it is encrypted (application/pgp-encrypted)",
    "message/partial": "it is a piece of a message (message/partial)",
    "message/external-body": "its body is elsewhere (message/external-body)",
}
#: RFC 8551 s3.2.
_SMIME: Final = frozenset(("application/pkcs7-mime", "application/x-pkcs7-mime"))


def refusal(root: Node, *, for_reading: bool = False) -> str:
    """Why the message cannot be taken apart, as the end of a sentence; "" when it can.

    `for_reading`: what is signed can be read all the same.
    """
    for node in _all(root):
        if node.kind in _REASONS and not (for_reading and node.kind == "multipart/signed"):
            return _REASONS[node.kind]
        if node.kind in _SMIME and (node is root or node.disposition.kind != "attachment"):
            return f"it is signed or encrypted with S/MIME ({node.kind})"
    return ""


def _all(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _all(child)

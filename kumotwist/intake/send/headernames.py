"""Which header fields of mail a client of the send API may give, by name.

Not those that a field of the request says or that we make, not what servers
write on a message's way, and no signature.

Public: `check_header_names`. What can go wrong: RequestProblem 422 with the path of the field.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from kumotwist.config.listener import TraceHeaders
from kumotwist.intake.inject.request import field_problem, refuse_header_names

#: Header fields that a field of the request says, or that are ours to make.
_OURS: Final = frozenset(("from", "to", "bcc", "subject", "reply-to", "date", "message-id"))
#: What servers write on a message's way (RFC 5321 s4.4, RFC 8601 s5, RFC 8617 s4.1, RFC 7208 s9.1), and the header by
#: which we know our own mail when it comes back. From a client they would be false: Delivered-To stops mail as a loop.
_ON_THE_WAY: Final = frozenset(
    (
        "received",
        "return-path",
        "delivered-to",
        "authentication-results",
        "received-spf",
        "arc-seal",
        "arc-message-signature",
        "arc-authentication-results",
        TraceHeaders().header_name.lower(),
    )
)
#: Signatures: nobody can have signed a message that is made only now, and one that fails harms more than none.
_SIGNATURES: Final = frozenset(("dkim-signature", "domainkey-signature"))


def check_header_names(given: Collection[str]) -> None:
    """Judge the names of the client's header fields. Raises RequestProblem."""
    names = [(f"headers[{name!r}]", name) for name in given]
    refuse_header_names(names)
    for path, name in names:
        known = name.lower()
        if known in _OURS:
            raise field_problem(path, "has a field of its own or is ours to make")
        if known in _ON_THE_WAY:
            raise field_problem(path, "is written by servers on the way and cannot be given")
        if known in _SIGNATURES:
            raise field_problem(path, "cannot be given, since the message is not made yet; the policy signs it")

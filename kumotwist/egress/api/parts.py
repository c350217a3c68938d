"""A message in parts, for providers that take no MIME.

Whom it goes to is the envelope's word alone: an address in To or Cc that the
envelope lacks would get it a second time. The headers only lend a recipient its name.

Public: `parts_of`, `sender_of`, `named`, `with_each_header_once`, `lost`, `base64`.
"""

from __future__ import annotations

from base64 import b64encode

from attrs import evolve

from kumotwist.core.message import Message
from kumotwist.egress.api.dialect import Refused, Target
from kumotwist.egress.api.judge import Fault, Judge
from kumotwist.proto.mime.addresses import Address
from kumotwist.proto.mime.losses import Loss, LossKind, NotRepresentable, in_words
from kumotwist.proto.mime.parts import Decomposed, decompose, may_be_copied


def parts_of(
    message: Message,
    targets: tuple[Target, ...],
    judge: Judge,
    *,
    for_reading: bool = False,
    with_files: bool | None = None,
) -> Decomposed | Refused:
    """The parts, or why this message cannot go this way: a permanent refusal of all `targets`.

    `for_reading`: only its words are sent, so signed mail passes; `with_files`: and its files.
    """
    found = decompose(message.body or b"", for_reading=for_reading, with_files=with_files)
    if isinstance(found, NotRepresentable):
        return Refused(targets, judge.outcome(Fault.PERMANENT, f"not representable: {found.reason}"))
    return found


def sender_of(message: Message, parts: Decomposed) -> Address:
    """Who it is from: the first From, else the envelope's sender."""
    return parts.from_[0] if parts.from_ else Address("", message.sender.email)


def named(email: str, parts: Decomposed) -> Address:
    """A recipient with the name that To or Cc gives it, if any."""
    lowered = email.lower()
    found = next((one for one in (*parts.to, *parts.cc) if one.email.lower() == lowered), None)
    return Address(found.name if found is not None else "", email)


def with_each_header_once(parts: Decomposed) -> Decomposed:
    """For providers that take header fields as a JSON object: the first of a name, and the loss of the others."""
    seen: set[str] = set()
    kept, losses = [], []
    for name, value in parts.headers:
        if name.lower() not in seen or not may_be_copied(name):
            kept.append((name, value))
        else:
            losses.append(Loss(LossKind.HEADER_AGAIN, name.lower()))
        seen.add(name.lower())
    return evolve(parts, headers=tuple(kept), losses=(*parts.losses, *losses)) if losses else parts


def lost(parts: Decomposed) -> str:
    """What the way costs the message, for its Delivery record; "" when nothing."""
    return f"lost: {in_words(parts.losses)}" if parts.losses else ""


def base64(data: bytes) -> str:
    """As JSON APIs want files."""
    return b64encode(data).decode("ascii")

"""Options of DKIM signers (RFC 6376).

Public: `DkimSignerConfig`, `Canonicalization`.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, TypeAlias

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import Duration, WrongOption, option, option_name, options

Canonicalization: TypeAlias = Literal["Relaxed", "Simple"]

#: A domain or selector as it may stand in a tag: letters, digits, hyphens and underscores between dots.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
#: The value of `i=`: what stands before the @ may be missing. Nothing that would end the tag or the line.
_AUID: Final = re.compile(r"[^\s;@]*@([A-Za-z0-9_.-]+)")


def _name(_: Any, attribute: Any, value: str | None) -> None:
    if value is not None and not _NAME.fullmatch(value):
        raise WrongOption(option_name(attribute), f"must be a domain name in ASCII, got {value!r}")


def _signed(_: Any, attribute: Any, value: tuple[str, ...]) -> None:
    if "from" not in {one.lower() for one in value}:
        raise WrongOption(option_name(attribute), "must name From: RFC 6376 demands that it is signed")
    for one in value:
        if not re.fullmatch(r"[!-9<-~]+", one):
            raise WrongOption(option_name(attribute), f"holds {one!r}, which cannot name a header")


def _within(instance: Any, attribute: Any, value: str | None) -> None:
    match = _AUID.fullmatch(value) if value is not None else None
    if value is not None and (match is None or not f".{match[1]}".lower().endswith(f".{instance.domain}".lower())):
        where = f"in the domain {instance.domain} or below it"
        raise WrongOption(option_name(attribute), f"must be an address {where}, got {value!r}")


def _positive(_: Any, attribute: Any, value: int | None) -> None:
    if value is not None and value < 1:
        raise WrongOption(option_name(attribute), f"must be at least 1, got {value}")


@options
class DkimSignerConfig:
    """What a DKIM signature says and which key makes it."""

    domain: str = option("The domain that signs (`d=`).", validator=_name)
    selector: str = option("The selector of the key (`s=`).", validator=_name)
    headers: tuple[str, ...] = option("Headers to sign, From among them.", validator=_signed)
    key: KeySource = option("The private key, PEM: PKCS #1 or PKCS #8.", secret=True)
    atps: str | None = option("Authorized third-party domain (RFC 6541).", default=None, validator=_name)
    atpsh: Literal["none", "sha1", "sha256"] | None = option("How `atps` is hashed in DNS.", default=None)
    agent_user_identifier: str | None = option("For whom it signs (`i=`).", default=None, validator=_within)
    expiration: int | None = option(
        "The signature is good so long from now.", default=None, unit="seconds", validator=_positive
    )
    body_length: bool = option("Say how long the body is (`l=`).", default=False)
    reporting: bool = option("Ask verifiers for reports (`r=y`, RFC 6651).", default=False)
    header_canonicalization: Canonicalization = option("`Relaxed` or `Simple`.", default="Relaxed")
    body_canonicalization: Canonicalization = option("`Relaxed` or `Simple`.", default="Relaxed")
    ttl: Duration = option("The key is read again after this time.", default=Duration(300.0))
    over_sign: bool = option("Sign that there are no further headers of these names.", default=False)

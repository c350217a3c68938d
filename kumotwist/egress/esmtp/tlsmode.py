"""How much TLS: the table of `enable_tls` against what a server offers, as pure functions.

    enable_tls             STARTTLS offered      not offered   handshake fails
    Required               verified              refuse        refuse
    RequiredInsecure       unverified            refuse        refuse
    Opportunistic          verified              clear         refuse (reconnect in clear if so configured)
    OpportunisticInsecure  unverified            clear         reconnect in clear
    Disabled               clear                 clear         -

A site whose TLS is remembered as broken counts as not offering it, for the
two opportunistic modes only. "refuse" gives this host up.

Public: `Course`, `course`, `falls_back`.
"""

from __future__ import annotations

import enum

from kumotwist.config.egress import EnableTls, PathConfig


class Course(enum.Enum):
    """What to do after the first EHLO."""

    CLEAR = "clear"
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    REFUSE = "refuse"


def course(mode: EnableTls, is_offered: bool, is_broken: bool) -> Course:
    """See the table above."""
    if mode == "Disabled":
        return Course.CLEAR
    is_required = mode in ("Required", "RequiredInsecure")
    if not is_offered:
        return Course.REFUSE if is_required else Course.CLEAR
    if is_broken and not is_required:
        return Course.CLEAR
    return Course.UNVERIFIED if mode in ("RequiredInsecure", "OpportunisticInsecure") else Course.VERIFIED


def falls_back(path: PathConfig) -> bool:
    """Whether a failed handshake leads to a new connection in clear text; never where TLS is required."""
    if path.enable_tls == "Opportunistic":
        return path.opportunistic_tls_reconnect_on_failed_handshake
    return path.enable_tls == "OpportunisticInsecure"

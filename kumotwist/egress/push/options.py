"""The options that all push channels have.

Public: `PushOptions`. A channel's options class derives from it.
"""

from __future__ import annotations

from typing import ClassVar

from kumotwist.config.option import Duration, option, options
from kumotwist.config.translate import PushTextOptions
from kumotwist.egress.api.options import CallOptions
from kumotwist.proto.translate.whom import AddressedBy


@options
class PushOptions(CallOptions):
    """How a message becomes a notification."""

    addressed_by: ClassVar[AddressedBy] = "device_token"

    text: PushTextOptions = option(
        "What becomes title, body and data, as a table; `docs/translation.md`.", factory=PushTextOptions
    )
    to_meta: str | None = option("Meta key that has the address; goes before meta `to`.", default=None)
    to_header: str | None = option("Header that has the address; goes before meta `to`.", default=None)
    ttl: Duration | None = option(
        "How long the service keeps it for a device that is away; the message's own expiry, if sooner, holds.",
        default=None,
    )

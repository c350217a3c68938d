"""Text messages that come in: what a subscriber wrote to one of our numbers.

A channel makes an `IncomingSms` out of what its provider sent and gives it to
the `SmsReceiver` of `core.interfaces`. Public: `IncomingSms`.
"""

from __future__ import annotations

from attrs import field, frozen

from kumotwist.core.json import JsonObject


@frozen(kw_only=True)
class IncomingSms:
    """One text, its parts put together.

    `sender` and `recipient` are as the provider gave them, international
    numbers with `+`. `missing` counts parts that never came: the text then has
    gaps. `octets` is what came, header and coding aside, for texts that are
    none; `data_coding` says what it is. `tlvs` are optional parameters of the
    last part, known or not: values in hexadecimal by tag (`0x1400`).
    """

    channel: str
    account: str
    sender: str
    recipient: str
    text: str
    parts: int = 1
    missing: int = 0
    data_coding: int = 0
    octets: bytes = b""
    tlvs: JsonObject = field(factory=dict)

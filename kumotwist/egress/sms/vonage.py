"""Vonage, by its SMS API: a form for each text, and a status of its own for each part.

https://developer.vonage.com/en/api/sms

Public: `VonageKind`, `VonageOptions`, `Vonage`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal, TypeAlias
from urllib.parse import parse_qsl

from attrs import evolve, frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import Duration, option, options
from kumotwist.core.json import at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.form import form_request
from kumotwist.egress.api.jsonapi import json_of, text_of
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.sms.gateway import Text, digits, plan_texts, refused, taken
from kumotwist.egress.sms.options import CallbackOptions, validity
from kumotwist.net.http import HttpRequest, HttpResponse
from kumotwist.net.httpform import url_encoded

#: Seconds that Vonage keeps a text (`ttl` of its API, there in milliseconds).
MIN_VALIDITY: Final = 20
MAX_VALIDITY: Final = 604_800

#: How an account's requests are signed, as its settings name it.
Method: TypeAlias = Literal["md5hash", "md5", "sha1", "sha256", "sha512"]

RULES: Final = (
    Rule(Fault.THROTTLED, code="1", meaning="faster than the account may send"),
    Rule(Fault.THROTTLED, code="10", meaning="too many connections"),
    Rule(Fault.TRANSIENT, code="5", meaning="an error of its own"),
    Rule(Fault.ACCOUNT, code="4", meaning="the key or secret is wrong"),
    Rule(Fault.ACCOUNT, code="8", meaning="the account is barred"),
    Rule(Fault.ACCOUNT, code="9", meaning="no credit"),
    Rule(Fault.ACCOUNT, code="11", meaning="the account may not send by HTTP"),
    Rule(Fault.ACCOUNT, code="14", meaning="the signature is wrong"),
    Rule(Fault.ACCOUNT, code="15", meaning="the sender is not allowed"),
    Rule(Fault.ACCOUNT, code="23", meaning="the URL for reports is wrong"),
    Rule(Fault.ACCOUNT, code="32", meaning="the account wants signatures instead of its secret"),
    Rule(Fault.PERMANENT, code="2", meaning="a parameter is missing"),
    Rule(Fault.PERMANENT, code="3", meaning="a parameter is wrong"),
    Rule(Fault.PERMANENT, code="6", meaning="it cannot route to that number"),
    Rule(Fault.PERMANENT, code="7", meaning="the number is barred"),
    Rule(Fault.PERMANENT, code="12", meaning="the text is too long"),
    Rule(Fault.PERMANENT, code="22", meaning="the network of that number is unknown"),
    Rule(Fault.PERMANENT, code="29", meaning="a trial account may not send to that number"),
    Rule(Fault.PERMANENT, code="33", meaning="the number is out of service"),
)
_SENDERS: Final = frozenset(("15",))


@options
class VonageOptions(CallbackOptions):
    """Text messages by Vonage's SMS API."""

    channel: ClassVar[str] = "vonage"

    api_key: str = option("The account's key, eight characters.")
    api_secret: KeySource | None = option("Its secret.", default=None, secret=True)
    signature_secret: KeySource | None = option(
        "What signs requests instead, for accounts that want that.", default=None, secret=True
    )
    signature_method: Method = option("How; as in the account's settings.", default="md5hash")
    validity: Duration | None = validity()
    base_url: str = option("Where its API is.", default="https://rest.nexmo.com")

    def __attrs_post_init__(self) -> None:
        """Raises ValueError when there is not one way to log in."""
        if (self.api_secret is None) == (self.signature_secret is None):
            raise ValueError("must have either 'api_secret' or 'signature_secret'")


@frozen(eq=False)
class Vonage:
    """Implements `egress.api.dialect.Dialect`."""

    options: VonageOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        return plan_texts(batch, self.options, self.judge, self._request, now, needs_sender=True)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:
        """Key and secret are fields of the form; or the time and a signature over all fields."""
        fields = [*parse_qsl((request.body or b"").decode(), keep_blank_values=True), ("api_key", self.options.api_key)]
        if "api_secret" in secrets:
            fields.append(("api_secret", secrets["api_secret"]))
        else:
            fields.append(("timestamp", str(int(now))))
            fields.append(("sig", _signature(fields, secrets["signature_secret"], self.options.signature_method)))
        return evolve(request, body=url_encoded(fields))

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """A status for each part; half a text is worth nothing, so the worst of them counts."""
        parts = at(json_of(reply), "messages")
        if not isinstance(parts, list) or not parts:
            if 200 <= reply.code < 300:
                raise Unreadable("no messages in the reply")
            return refused(self.judge, reply, call, text_of(reply))
        for part in parts:
            status = str(at(part, "status"))
            if status != "0":
                text = str(at(part, "error-text") or "")
                return refused(self.judge, reply, call, text, status, senders=_SENDERS)
        ids = [str(at(part, "message-id") or "") for part in parts]
        return taken(self.judge, reply, call, " ".join(filter(None, ids)) or None, len(parts))

    def _request(self, text: Text) -> HttpRequest:
        chosen = self.options
        fields = [
            ("from", digits(text.sender or "")),
            ("to", digits(text.to)),
            ("text", text.words),
            ("type", "unicode" if text.is_unicode else "text"),
            ("client-ref", text.id),
        ]
        callback, ttl = text.callback(chosen.status_url), text.validity(chosen.validity, MIN_VALIDITY, MAX_VALIDITY)
        if callback is not None:
            fields.append(("callback", callback))
        if ttl is not None:
            fields.append(("ttl", str(ttl * 1000)))
        return form_request(f"{chosen.base_url}/sms/json", fields)


def _signature(fields: Sequence[tuple[str, str]], secret: str, method: Method) -> str:
    """The hash over the sorted fields, hexadecimal."""
    text = "".join(
        f"&{name}={value.replace('&', '_').replace('=', '_')}" for name, value in sorted(fields, key=lambda one: one[0])
    )
    if method == "md5hash":
        return hashlib.md5((text + secret).encode()).hexdigest()  # noqa: S324 # what old accounts have
    return hmac.digest(secret.encode(), text.encode(), method).hex()


class VonageKind(ApiKind):
    """Makes Vonage channels."""

    options = VonageOptions

    def dialect(self, options: VonageOptions, peer: Peer) -> Vonage:
        """For one account."""
        return Vonage(options, self.judge(peer, RULES, options))

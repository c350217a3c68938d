"""Vonage, by its Messages API v1: JSON for each text, as an application (JWT) or by the account's secret.

https://developer.vonage.com/en/api/messages

Public: `VonageMessagesKind`, `VonageMessagesOptions`, `VonageMessages`. What can go wrong: ValueError
from options with neither or both ways to log in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, Final
from uuid import uuid4

from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import Duration, option, options
from kumotwist.core.errors import ConfigError, SecretUnavailable
from kumotwist.core.json import JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.dialect import Call, Refused
from kumotwist.egress.api.jsonapi import id_in, json_of, json_request, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.sms.gateway import Text, digits, plan_texts, refused, taken
from kumotwist.egress.sms.options import CallbackOptions, validity
from kumotwist.net.http import HttpRequest, HttpResponse, basic_auth
from kumotwist.proto.sign.jwt import JwtKey

#: Seconds that Vonage keeps a text (`ttl` of its API).
MIN_VALIDITY: Final = 20
MAX_VALIDITY: Final = 604_800
#: Seconds that a token is good for. Vonage takes up to a day; ours serves one request.
_TOKEN_LIFE: Final = 300

RULES: Final = (
    Rule(Fault.THROTTLED, code="1000", meaning="faster than the account may send"),
    Rule(Fault.TRANSIENT, code="1030", meaning="an error of its own"),
    Rule(Fault.TRANSIENT, code="1100", meaning="it could not hand the text on"),
    Rule(Fault.ACCOUNT, code="1060", meaning="the account is barred"),
    Rule(Fault.ACCOUNT, code="1070", meaning="no credit"),
    Rule(Fault.ACCOUNT, code="1080", meaning="the account may not send by HTTP"),
    Rule(Fault.ACCOUNT, code="1120", meaning="the sender is not allowed"),
    Rule(Fault.PERMANENT, code="1040", meaning="it cannot route to that number"),
    Rule(Fault.PERMANENT, code="1050", meaning="the number is barred"),
    Rule(Fault.PERMANENT, (422,), meaning="a field is wrong"),
)
_SENDERS: Final = frozenset(("1120",))


@options
class VonageMessagesOptions(CallbackOptions):
    """Text messages by Vonage's Messages API."""

    channel: ClassVar[str] = "vonage_messages"

    application_id: str | None = option("The application to log in as; wants `private_key`.", default=None)
    private_key: KeySource | None = option("Its private key, PEM.", default=None, secret=True)
    api_key: str | None = option("The account to log in as; wants `api_secret`.", default=None)
    api_secret: KeySource | None = option("Its secret.", default=None, secret=True)
    validity: Duration | None = validity()
    base_url: str = option("Where its API is; a region's host keeps the data there.", default="https://api.nexmo.com")

    def __attrs_post_init__(self) -> None:
        """Raises ValueError when there is not one whole way to log in."""
        by_application = (self.application_id is not None, self.private_key is not None)
        by_account = (self.api_key is not None, self.api_secret is not None)
        if {by_application, by_account} != {(True, True), (False, False)}:
            raise ValueError("must have either 'application_id' with 'private_key' or 'api_key' with 'api_secret'")


@frozen(eq=False)
class VonageMessages:
    """Implements `egress.api.dialect.Dialect`."""

    options: VonageMessagesOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        return plan_texts(batch, self.options, self.judge, self._request, now, needs_sender=True)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:
        """A token of the application, or HTTP Basic. Raises SecretUnavailable for what is no private key."""
        if "api_secret" in secrets:
            value = basic_auth(self.options.api_key or "", secrets["api_secret"]).decode()
            return with_header(request, b"Authorization", value)
        claims: JsonObject = {
            "application_id": self.options.application_id,
            "iat": int(now),
            "exp": int(now) + _TOKEN_LIFE,
            "jti": str(uuid4()),
        }
        return with_header(request, b"Authorization", f"Bearer {_key(secrets['private_key']).token(claims)}")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """202 and `message_uuid`; an error's number stands behind the `#` of its `type`."""
        answer = json_of(reply)
        if 200 <= reply.code < 300:
            return taken(self.judge, reply, call, id_in(answer, "message_uuid"))
        kind, title, detail = (str(at(answer, name) or "") for name in ("type", "title", "detail"))
        code = kind.rpartition("#")[2] if "#" in kind else None
        text = ": ".join(filter(None, (title, detail))) or text_of(reply)
        return refused(self.judge, reply, call, text, code, senders=_SENDERS)

    def _request(self, text: Text) -> HttpRequest:
        chosen = self.options
        value: JsonObject = {
            "channel": "sms",
            "message_type": "text",
            "from": digits(text.sender or ""),
            "to": digits(text.to),
            "text": text.words,
            "client_ref": text.id,
            "sms": {"encoding_type": "unicode" if text.is_unicode else "text"},
        }
        ttl = text.validity(chosen.validity, MIN_VALIDITY, MAX_VALIDITY)
        if ttl is not None:
            value["ttl"] = ttl
        if chosen.status_url is not None:
            value["webhook_url"], value["webhook_version"] = text.callback(chosen.status_url), "v1"
        return json_request(f"{chosen.base_url}/v1/messages", value)


@lru_cache(maxsize=16)
def _key(pem: str) -> JwtKey:
    """The key, parsed once: that takes longer than signing."""
    try:
        return JwtKey.load(pem.encode())
    except ConfigError as error:
        raise SecretUnavailable(f"private_key: {error}", permanent=True) from None


class VonageMessagesKind(ApiKind):
    """Makes channels over Vonage's Messages API."""

    options = VonageMessagesOptions

    def dialect(self, options: VonageMessagesOptions, peer: Peer) -> VonageMessages:
        """For one application or account."""
        return VonageMessages(options, self.judge(peer, RULES, options))

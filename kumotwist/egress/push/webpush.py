"""Web Push: notifications to browsers, by the push service that each browser names itself (RFC 8030).

The endpoint comes from a stranger's browser. So it reaches public addresses
only, unless the policy allows others; what a service says concerns that one
message, never the whole queue; and it stays out of logs, for whoever knows it
may send.

Public: `WebPushKind`, `WebPushOptions`, `WebPush`.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from attrs import define, evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric import ec

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import Duration, WrongOption, option, options
from kumotwist.core.errors import ConfigError, SecretUnavailable
from kumotwist.core.json import JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer, Scope
from kumotwist.egress.api.credentials import Credentials, KeyCredentials
from kumotwist.egress.api.dialect import Call, Refused, Target, Unreadable, targets_of
from kumotwist.egress.api.jsonapi import json_of, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.session import ApiChannel
from kumotwist.egress.push.notification import expiry_of, fitted, notification_of, wishes
from kumotwist.egress.push.options import PushOptions
from kumotwist.net.http import HttpRequest, HttpResponse
from kumotwist.net.publicaddress import private_host
from kumotwist.proto.translate.push import Notification
from kumotwist.proto.translate.whom import AddressedBy, subscription_for
from kumotwist.proto.webpush import MAX_PLAINTEXT, VAPID_LIFETIME, Subscription, VapidKey, encrypt

#: Seconds that a service is asked to keep a message at most: four weeks, the most that Google's takes.
MAX_TTL: Final = 2_419_200
#: Octets of a reply; nothing in it matters but its status and a line for the log. Ours.
MAX_REPLY: Final = 16 << 10
#: Push services whose tokens are kept; there are five or so, and strangers may make up more. Ours.
MAX_ORIGINS: Final = 256

Urgency = Literal["very-low", "low", "normal", "high"]

RULES: Final = (
    Rule(Fault.DEAD, (404, 410), meaning="the subscription is over"),
    Rule(Fault.PERMANENT, (405,), meaning="the endpoint is no push service's"),
    Rule(Fault.TRANSIENT, (401, 402, 403), meaning="our VAPID key is not the one that the browser subscribed with"),
    Rule(Fault.TRANSIENT, (400,), says="vapid", meaning="the same, as some services put it"),
    Rule(Fault.TRANSIENT, (400,), says="jwt", meaning="the same, as some services put it"),
    Rule(Fault.TRANSIENT, (429,), meaning="too many; `Retry-After` is obeyed"),
    # https://github.com/microsoft/WindowsAppSDK/issues/3501
    Rule(Fault.TRANSIENT, (406,), meaning="too many, as Microsoft's service puts it"),
    Rule(Fault.TRANSIENT, (301, 302, 303, 307, 308), meaning="redirects are not followed"),
    Rule(Fault.TRANSIENT, (407, 426), meaning="a proxy on the way wants a login, or another protocol"),
    Rule(Fault.PERMANENT, (413,), meaning="larger than the service takes"),
)
#: 201 by RFC 8030 s5, 202 with receipts (s5.1) and from Mozilla's of old; what else may be a yes is told below.
_TAKEN: Final = frozenset((201, 202))
#: RFC 8030 s5.4.
_TOPIC: Final = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
_SUBJECT: Final = re.compile(r"(mailto:[!-~]+@[!-~]+|https://[!-~]+)\Z")
_encode: Final = msgspec.json.Encoder().encode


@options
class WebPushOptions(PushOptions):
    """Delivery to browsers by Web Push."""

    channel: ClassVar[str] = "webpush"
    addressed_by: ClassVar[AddressedBy] = "web_push"

    vapid_key: KeySource = option(
        "The private key whose public half browsers subscribe with: PEM, or 32 octets in base64url.", secret=True
    )
    subject: str = option("Where a push service reaches us: a `mailto:` or `https:` URL.")
    timeout: Duration = option(
        "Bound on one request; a service that strangers name must not hold up others for long.", default=Duration(15.0)
    )
    urgency: Urgency | None = option("How much battery it is worth; none: `normal`.", default=None)
    allow_private_addresses: bool = option("Endpoints may lead into private networks, and need no TLS.", default=False)
    icon: str | None = option("URL of the picture beside it.", default=None)
    badge: str | None = option("URL of the small picture in its place.", default=None)
    url: str | None = option("What the page opens when it is clicked.", default=None)

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for a subject that services refuse."""
        if not _SUBJECT.match(self.subject):
            raise WrongOption("subject", "must be like mailto:ops@example.com or https://example.com/contact")


#: What a message may choose for itself in meta `push`.
_WISHES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "urgency": str, "topic": str, "icon": str, "badge": str, "image": str, "tag": str, "url": str,
}  # fmt: skip
_SHOWN: Final = ("icon", "badge", "image", "tag", "url")


@define(eq=False)
class WebPush:
    """Implements `egress.api.dialect.Dialect`. `new_key` and `random` are for one message each."""

    options: WebPushOptions
    judge: Judge
    new_key: Callable[[], ec.EllipticCurvePrivateKey] = lambda: ec.generate_private_key(ec.SECP256R1())
    random: Callable[[int], bytes] = os.urandom
    max_batch: int = 1
    _key: tuple[str, VapidKey] | None = field(default=None, init=False, repr=False)
    _tokens: OrderedDict[str, tuple[str, float]] = field(factory=OrderedDict, init=False, repr=False)

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request a message."""
        steps: list[Call | Refused] = []
        for message, targets in zip(batch, targets_of(batch), strict=True):
            try:
                steps.append(self._call(message, targets, now))
            except ValueError as error:
                steps.append(Refused(targets, self.judge.outcome(Fault.PERMANENT, str(error))))
        return steps

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:
        """A VAPID token for the service; the same one for all its messages while it is fresh."""
        origin = Subscription(request.url, b"", b"").origin
        return with_header(request, b"Authorization", self._token(secrets["vapid_key"], origin, now))

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """201, or what is wrong; the body is for people."""
        if 200 <= reply.code < 300:
            if reply.code not in _TAKEN and not _is_a_services(reply):
                raise Unreadable(f"{reply.code} instead of 201, and nothing that only a push service says")
            outcome = self.judge.delivered(reply, None)
        else:
            hint = self.options.rest if reply.code in (401, 402, 403) else None
            said = text_of(reply) or reply.header("x-wns-error-description") or ""
            outcome = self.judge.refused(reply, said, hint=hint)
        return [evolve(outcome, scope=Scope.MESSAGE)] * len(call.targets)

    # -- requests --------------------------------------------------------------------------------

    def _call(self, message: Message, targets: tuple[Target, ...], now: float) -> Call:
        chosen = self.options
        browser = Subscription.parse(subscription_for(message, chosen))
        if not chosen.allow_private_addresses:
            _check_public(browser.endpoint)
        wanted = wishes(message, _WISHES)
        note = notification_of(message, chosen.text)
        text = fitted(lambda body: _encode(self._shown(note, body, wanted)), note.body, MAX_PLAINTEXT)
        body = encrypt(text, browser, self.new_key(), self.random(16))
        headers = (
            (b"Content-Type", b"application/octet-stream"),
            (b"Content-Encoding", b"aes128gcm"),
            *self._headers(message, wanted, now),
        )
        return Call(HttpRequest(b"POST", browser.endpoint, headers, body, has_secret_path=True), targets)

    def _headers(self, message: Message, wanted: Mapping[str, Any], now: float) -> list[tuple[bytes, bytes]]:
        expires = expiry_of(message, self.options.ttl)
        ttl = MAX_TTL if expires is None else int(min(max(expires - now, 0), MAX_TTL))
        headers = [(b"TTL", str(ttl).encode())]
        urgency, topic = wanted.get("urgency", self.options.urgency), wanted.get("topic")
        if urgency is not None:
            if urgency not in get_args(Urgency):
                raise ValueError(f"meta push: urgency must be one of {', '.join(get_args(Urgency))}")
            headers.append((b"Urgency", urgency.encode()))
        if topic is not None:
            if not _TOPIC.match(topic):
                raise ValueError("meta push: topic must have up to 32 of the characters of base64url")
            headers.append((b"Topic", topic.encode()))
        return headers

    def _shown(self, note: Notification, body: str, wanted: Mapping[str, Any]) -> JsonObject:
        """What the page's service worker gets."""
        value: JsonObject = {"title": note.title, "body": body}
        for name in _SHOWN:
            chosen = wanted.get(name, getattr(self.options, name, None))
            if chosen:
                value[name] = chosen
        if note.data:
            value["data"] = note.data
        return {name: one for name, one in value.items() if one != ""}

    def _token(self, key: str, origin: str, now: float) -> str:
        if self._key is None or self._key[0] != key:
            self._key = (key, VapidKey.load(key.encode()))
            self._tokens.clear()
        kept = self._tokens.get(origin)
        if kept is None or now >= kept[1]:
            token = self._key[1].authorization(origin, self.options.subject, now)
            kept = self._tokens[origin] = (token, now + VAPID_LIFETIME / 2)
            if len(self._tokens) > MAX_ORIGINS:
                self._tokens.popitem(last=False)
        return kept[0]


def _is_a_services(reply: HttpResponse) -> bool:
    """Whether another 2xx is a push service's and not the page of something on the way.

    UnifiedPush bids us take every 2xx for a 201, and its services to send `TTL` with it (SERV_1.2.0, "2xx"); its
    gateways pass on an empty 200. A page is not empty. ntfy says 200 with an `id`, Mozilla's has with a `Location`.
    """
    named = reply.header("ttl") or reply.header("location") or at(json_of(reply), "id")
    return bool(named or not reply.body)


def _check_public(endpoint: str) -> None:
    """What can be told without DNS, for good; the HTTP client judges what a name leads to."""
    if urlsplit(endpoint).scheme != "https":
        raise ValueError("the endpoint of a subscription is not an https URL")
    if private_host(endpoint) is not None:
        raise ValueError("the endpoint of a subscription is not on the public Internet")


@frozen(eq=False)
class VapidCredentials:
    """Implements `egress.api.credentials.Credentials`: a VAPID key that is one."""

    keys: KeyCredentials

    async def get(self) -> Mapping[str, str]:
        """The key, checked: a wrong file must not cost messages."""
        secrets = await self.keys.get()
        try:
            VapidKey.load(secrets["vapid_key"].encode())
        except ConfigError as error:
            raise SecretUnavailable(str(error), permanent=True) from None
        return secrets

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Read it anew."""
        return await self.keys.renew(refused)


class WebPushKind(ApiKind):
    """Makes Web Push channels."""

    options = WebPushOptions
    max_response = MAX_REPLY

    def make(self, protocol: WebPushOptions) -> ApiChannel:
        """The channel for one VAPID key; each subscription names its own service."""
        return self.built(protocol, Peer("webpush", "webpush", "HTTP", channel="webpush", account=protocol.account))

    def dialect(self, options: WebPushOptions, peer: Peer) -> WebPush:
        """For one VAPID key."""
        return WebPush(options, self.judge(peer, RULES, options))

    def credentials(self, options: WebPushOptions) -> Credentials:
        """The VAPID key."""
        return VapidCredentials(KeyCredentials(self.services.keys, self.secrets(options)))

    def reaches_private(self, options: WebPushOptions) -> bool:
        """As the policy says."""
        return options.allow_private_addresses

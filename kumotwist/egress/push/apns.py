"""Apple's push service: HTTP/2 with token authentication, all notifications of a batch at once.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns

Public: `ApnsKind`, `ApnsOptions`, `Apns`, `ProviderTokens`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

import msgspec
from attrs import define, evolve, field, frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.errors import ConfigError, SecretUnavailable
from kumotwist.core.interfaces import KeyLoader
from kumotwist.core.json import JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer, Scope
from kumotwist.core.stats import Sample
from kumotwist.egress.api.dialect import Call, Refused, Target, Unreadable, targets_of
from kumotwist.egress.api.jsonapi import json_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.streamkeep import StreamKeep
from kumotwist.egress.api.streams import StreamChannel
from kumotwist.egress.push.notification import expiry_of, fitted, notification_of, wishes
from kumotwist.egress.push.options import PushOptions
from kumotwist.egress.services import Services
from kumotwist.net.clock import Clock
from kumotwist.net.http import HttpRequest, HttpResponse
from kumotwist.proto.sign.jwt import JwtKey
from kumotwist.proto.translate.push import Notification
from kumotwist.proto.translate.whom import token_for

PushType: TypeAlias = Literal[
    "alert", "background", "complication", "controls", "fileprovider", "liveactivity", "location", "mdm",
    "pushtotalk", "voip", "widgets",
]  # fmt: skip
InterruptionLevel: TypeAlias = Literal["passive", "active", "time-sensitive", "critical"]

#: Octets of a notification (Apple), and of one for VoIP.
MAX_PAYLOAD: Final = 4096
MAX_VOIP_PAYLOAD: Final = 5120
#: Octets of a collapse id (Apple).
MAX_COLLAPSE_ID: Final = 64
#: Seconds to wait after a fault of Apple's servers: they ask for 15 minutes.
SERVER_FAULT_WAIT: Final = 900.0
#: Seconds for which a provider token is used. Apple refuses one older than an hour and more than one new one in 20
#: minutes; all workers change at the same moment to the same token, five minutes late for the sake of their clocks.
TOKEN_PERIOD: Final = 1800
TOKEN_LAG: Final = 300

_TOKEN: Final = re.compile(r"[0-9A-Fa-f]{64,200}\Z")
_encode: Final = msgspec.json.Encoder().encode

RULES: Final = (
    Rule(Fault.DEAD, (410,), "Unregistered", meaning="the app was removed, or will not have notifications"),
    Rule(Fault.DEAD, (410,), "ExpiredToken", meaning="the token has expired"),
    Rule(Fault.DEAD, (400,), "BadDeviceToken", meaning="no token, or one of the other environment"),
    Rule(Fault.PERMANENT, (400,), "DeviceTokenNotForTopic", meaning="the token is another app's"),
    Rule(Fault.PERMANENT, (403,), "Forbidden", meaning="this kind of notification is not allowed"),
    Rule(Fault.ACCOUNT, (400,), "BadTopic", meaning="the option `topic` is wrong"),
    Rule(Fault.ACCOUNT, (400,), "MissingTopic", meaning="the option `topic` is missing"),
    Rule(Fault.ACCOUNT, (400,), "TopicDisallowed", meaning="the key is not for this app"),
    Rule(Fault.ACCOUNT, (400, 403), "BadEnvironmentKeyIdInToken", meaning="the key is for the other environment"),
    Rule(Fault.ACCOUNT, (403,), "ExpiredProviderToken", meaning="our clock is wrong"),
    Rule(Fault.ACCOUNT, (403,), "InvalidProviderToken", meaning="key, `key_id` and `team_id` do not go together"),
    Rule(Fault.THROTTLED, (429,), "TooManyProviderTokenUpdates", meaning="somebody else signs with this key, too"),
    Rule(Fault.TRANSIENT, (429,), "TooManyRequests", meaning="too many to this one device"),
    Rule(Fault.TRANSIENT, (400,), "IdleTimeout", meaning="the connection was about to be closed"),
    Rule(Fault.TRANSIENT, (503,), "Shutdown", meaning="the connection was about to be closed"),
    Rule(Fault.PERMANENT, (413,), "PayloadTooLarge", meaning="more than 4,096 octets"),
    # The token stands in the path, so the message may be the cause of this.
    Rule(Fault.PERMANENT, (404,), "BadPath", meaning="what stands there is no token"),
)
#: The session is over after these; the next one may try at once.
_GOODBYES: Final = frozenset(("IdleTimeout", "Shutdown"))
#: Other credentials may help against these.
_UNPROVEN: Final = frozenset(("ExpiredProviderToken", "InvalidProviderToken", "MissingProviderToken"))
#: A fault of the message, when it chose the topic itself.
_OF_TOPIC: Final = frozenset(("BadTopic", "MissingTopic", "TopicDisallowed"))


@options
class ApnsOptions(PushOptions):
    """Delivery by Apple's push service."""

    channel: ClassVar[str] = "apns"

    key: KeySource = option("The signing key, as the .p8 file that Apple gives (PEM).", secret=True)
    key_id: str = option("Its id, ten characters.")
    team_id: str = option("The id of the team that it belongs to, ten characters.")
    topic: str = option("Whom notifications are for: the app's bundle id, with a suffix for some push types.")
    base_url: str = option(
        "Where APNs is; `https://api.sandbox.push.apple.com` for development builds.",
        default="https://api.push.apple.com",
    )
    push_type: PushType = option("What kind of notification it is.", default="alert")
    priority: Literal[1, 5, 10] | None = option(
        "10: at once; 5: when it suits the device; 1: without waking it. None: 5 for `background`, else 10.",
        default=None,
    )
    sound: str | None = option("The sound that it makes.", default=None)
    badge: int | None = option("The number at the app's icon; 0 removes it.", default=None)
    category: str | None = option("The category that decides its buttons.", default=None)
    thread_id: str | None = option("Notifications of one thread are shown together.", default=None)
    interruption_level: InterruptionLevel | None = option("How much it may disturb.", default=None)
    mutable_content: bool = option("The app may change it before it is shown.", default=False)
    content_available: bool = option("The app is woken to fetch content.", default=False)


#: What a message may choose for itself in meta `push`.
_WISHES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "subtitle": str, "collapse_id": str, "topic": str, "push_type": str, "priority": int, "sound": str, "badge": int,
    "category": str, "thread_id": str, "interruption_level": str, "relevance_score": (int, float),
    "target_content_id": str, "mutable_content": bool, "content_available": bool,
}  # fmt: skip
_TEXTS: Final = ("sound", "badge", "category", "interruption_level", "relevance_score")
_RENAMED: Final = {"thread_id": "thread-id", "target_content_id": "target-content-id"}
_FLAGS: Final = {"mutable_content": "mutable-content", "content_available": "content-available"}


@frozen(eq=False)
class Apns:
    """Implements `egress.api.streams.StreamDialect`."""

    options: ApnsOptions
    judge: Judge

    max_batch: int = 500
    own_headers: frozenset[bytes] = frozenset((b"apns-id", b"apns-expiration", b"apns-collapse-id"))

    @property
    def secrets(self) -> Mapping[str, KeySource]:
        """The signing key."""
        return {"key": self.options.key}

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request a recipient."""
        steps: list[Call | Refused] = []
        for message, targets in zip(batch, targets_of(batch), strict=True):
            try:
                steps += self._steps(message, targets)
            except ValueError as error:
                steps.append(Refused(targets, self.judge.outcome(Fault.PERMANENT, str(error))))
        return steps

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """A bearer token; `secrets` has it ready."""
        return with_header(request, b"authorization", secrets["authorization"])

    def is_unproven(self, reply: HttpResponse) -> bool:
        """Whether it is the provider token that Apple does not like."""
        return reply.code == 403 and _reason(reply) in _UNPROVEN

    def is_goodbye(self, reply: HttpResponse) -> bool:
        """Apple's servers say so in two ways, besides GOAWAY."""
        return reply.code in (400, 503) and _reason(reply) in _GOODBYES

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """200 and the name of the notification, or a reason."""
        if reply.code == 200:
            name = reply.header("apns-id")
            if not name:
                raise Unreadable("200 without an apns-id")
            return [self.judge.delivered(reply, name)] * len(call.targets)
        reason = _reason(reply)
        outcome = self.judge.refused(reply, _text(reply), reason, SERVER_FAULT_WAIT if reply.code >= 500 else None)
        if call.note == "topic" and reason in _OF_TOPIC:
            outcome = self.judge.outcome(Fault.PERMANENT, outcome.response.content)
        elif self.is_goodbye(reply):
            outcome = evolve(outcome, scope=Scope.SESSION, retry_after=None)
        return [outcome] * len(call.targets)

    # -- requests --------------------------------------------------------------------------------

    def _steps(self, message: Message, targets: tuple[Target, ...]) -> list[Call | Refused]:
        wanted = wishes(message, _WISHES)
        push_type = _chosen("push_type", wanted.get("push_type", self.options.push_type), get_args(PushType))
        limit = MAX_VOIP_PAYLOAD if push_type == "voip" else MAX_PAYLOAD
        note = notification_of(message, self.options.text)
        body = fitted(lambda text: self._payload(note, text, wanted, push_type), note.body, limit)
        headers = self._headers(message, wanted, push_type)
        chose = "topic" if "topic" in wanted else None
        steps: list[Call | Refused] = []
        for target in targets:
            try:
                url = f"{self.options.base_url.rstrip('/')}/3/device/{self._token(message, target)}"
            except ValueError as error:
                steps.append(Refused((target,), self.judge.outcome(Fault.PERMANENT, str(error))))
                continue
            request = HttpRequest(b"POST", url, (*headers, _apns_id(message, target)), body)
            steps.append(Call(request, (target,), note=chose))
        return steps

    def _token(self, message: Message, target: Target) -> str:
        chosen, recipient = self.options, message.recipients[target[1]]
        token = token_for(message, recipient, chosen)
        if not _TOKEN.match(token):
            raise ValueError("the device token is not one of APNs: 64 to 200 hexadecimal digits")
        return token.lower()

    def _headers(self, message: Message, wanted: Mapping[str, object], push_type: str) -> list[tuple[bytes, bytes]]:
        chosen = self.options
        usual = 5 if push_type == "background" else 10
        priority = _chosen("priority", wanted.get("priority", chosen.priority or usual), (1, 5, 10))
        headers = [
            (b"apns-topic", str(wanted.get("topic", chosen.topic)).encode()),
            (b"apns-push-type", push_type.encode()),
            (b"apns-priority", str(priority).encode()),
        ]
        expires = expiry_of(message, chosen.ttl)
        if expires is not None:
            headers.append((b"apns-expiration", str(int(expires)).encode()))
        collapse_id = str(wanted.get("collapse_id", "")).encode()
        if len(collapse_id) > MAX_COLLAPSE_ID:
            raise ValueError(f"meta push: collapse_id has more than {MAX_COLLAPSE_ID} octets")
        if collapse_id:
            headers.append((b"apns-collapse-id", collapse_id))
        return headers

    def _payload(self, note: Notification, text: str, wanted: Mapping[str, object], push_type: str) -> bytes:
        aps: JsonObject = {}
        if push_type == "background":
            aps["content-available"] = 1
        else:
            aps["alert"] = {
                key: value
                for key, value in (("title", note.title), ("subtitle", wanted.get("subtitle")), ("body", text))
                if isinstance(value, str) and value
            }
            self._dress(aps, wanted)
        # `aps` is Apple's; the rest of the object is the application's.
        return _encode({**note.data, "aps": aps})

    def _dress(self, aps: JsonObject, wanted: Mapping[str, object]) -> None:
        """Sound, badge and the like, by the message's wish or else by the channel's options."""
        for name in (*_TEXTS, *_RENAMED):
            value = wanted.get(name, getattr(self.options, name, None))
            if isinstance(value, (str, int, float)):
                aps[_RENAMED.get(name, name.replace("_", "-"))] = value
        for name, key in _FLAGS.items():
            if wanted.get(name, getattr(self.options, name)):
                aps[key] = 1


def _chosen(name: str, value: object, known: Sequence[object]) -> str:
    if value not in known:
        raise ValueError(f"meta push: {name} must be one of {', '.join(map(str, known))}")
    return str(value)


def _apns_id(message: Message, target: Target) -> tuple[bytes, bytes]:
    """The notification's name at Apple: our spool id, for the second recipient and on one derived from it."""
    own = uuid.UUID(bytes=bytes(message.id))
    return b"apns-id", str(own if target[1] == 0 else uuid.uuid5(own, str(target[1]))).encode()


def _reason(reply: HttpResponse) -> str | None:
    reason = at(json_of(reply), "reason")
    return reason if isinstance(reason, str) else None


def _text(reply: HttpResponse) -> str:
    """What Apple says besides the reason: since when a token is gone, in milliseconds."""
    since = at(json_of(reply), "timestamp")
    return f"since {since / 1000:.0f}" if isinstance(since, int) else ""


@define(eq=False)
class ProviderTokens:
    """Implements `egress.api.credentials.Credentials`: the signed token, the same for all who hold the key.

    Its signature is deterministic (RFC 6979) and its time a multiple of the
    period, so all connections, workers and restarts show one and the same
    token, which is what Apple asks for.
    """

    keys: KeyLoader
    clock: Clock
    options: ApnsOptions
    _pem: bytes = field(default=b"", init=False, repr=False)
    _key: JwtKey | None = field(default=None, init=False, repr=False)
    _token: Mapping[str, str] = field(factory=dict, init=False, repr=False)
    _issued: int = field(default=0, init=False)

    async def get(self) -> Mapping[str, str]:
        """The token of now. Raises SecretUnavailable."""
        return self._sign(await self.keys.load(self.options.key))

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Read the key past every cache, unless another session has done so already."""
        return await self.get() != refused or self._sign(await self.keys.refresh(self.options.key)) != refused

    def _sign(self, pem: bytes) -> Mapping[str, str]:
        issued = (int(self.clock.seconds()) - TOKEN_LAG) // TOKEN_PERIOD * TOKEN_PERIOD
        if self._key is None or pem != self._pem:
            try:
                self._key = JwtKey.load(pem, self.options.key_id)
            except ConfigError as error:
                raise SecretUnavailable(str(error), permanent=True) from None
            if self._key.algorithm != "ES256":
                raise SecretUnavailable("the signing key is not one of APNs (P-256)", permanent=True)
            self._pem, self._issued = pem, 0
        if issued != self._issued:
            token = self._key.token({"iss": self.options.team_id, "iat": issued})
            self._token, self._issued = {"authorization": f"bearer {token}"}, issued
        return self._token


class ApnsKind:
    """Makes APNs channels. Implements `egress.registry.ChannelKind`."""

    options = ApnsOptions

    def __init__(self, services: Services) -> None:
        self._services = services
        self._keep = StreamKeep(services)

    def make(self, protocol: ApnsOptions) -> StreamChannel:
        """The channel for one app. Raises ConfigError."""
        services = self._services
        url = urlsplit(protocol.base_url)
        if url.scheme != "https" or not url.hostname or "@" in url.netloc or url.query:
            raise ConfigError("protocol.apns: option 'base_url' must be like https://api.push.apple.com")
        peer = Peer(url.netloc, url.netloc, "HTTP/2", channel="apns", account=protocol.account)

        def dialect(peer: Peer) -> Apns:
            return Apns(protocol, Judge(peer, RULES, protocol.rest, services.clock.seconds))

        return StreamChannel(
            name="apns",
            options=protocol,
            base_url=protocol.base_url,
            dialect=dialect,
            credentials=ProviderTokens(services.keys, services.clock, protocol),
            keep=self._keep,
            peer=peer,
        )

    async def close(self) -> None:
        """See `egress.registry.ClosingKind`."""
        await self._keep.close()

    def samples(self) -> Sequence[Sample]:
        """No numbers of its own."""
        return ()

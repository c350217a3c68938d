"""Firebase Cloud Messaging, by its HTTP v1 API: Android, browsers, and Apple's devices by way of Google.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages

Public: `FcmKind`, `FcmOptions`, `Fcm`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, get_args
from urllib.parse import quote

import msgspec
from attrs import evolve, frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.errors import SecretUnavailable
from kumotwist.core.json import Json, JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.credentials import Credentials
from kumotwist.egress.api.dialect import Call, Refused, Target, targets_of
from kumotwist.egress.api.jsonapi import id_in, json_of, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.oauth import TOKEN, OAuthCredentials, read_service_account, service_account
from kumotwist.egress.api.session import ApiChannel
from kumotwist.egress.api.streamkeep import StreamKeep
from kumotwist.egress.api.streams import StreamChannel
from kumotwist.egress.push.notification import expiry_of, fitted, notification_of, wishes
from kumotwist.egress.push.options import PushOptions
from kumotwist.egress.services import Services
from kumotwist.net.http import HttpRequest, HttpResponse
from kumotwist.proto.translate.push import Notification
from kumotwist.proto.translate.whom import token_for

#: Octets of notification and data together (Google).
MAX_PAYLOAD: Final = 4096
#: Seconds that Google keeps a message at most: four weeks.
MAX_TTL: Final = 2_419_200
#: Seconds to wait when Google does not say, by its error: they ask for so many.
WAITS: Final = {"INTERNAL": 10.0, "UNAVAILABLE": 10.0, "QUOTA_EXCEEDED": 60.0}

Priority = Literal["normal", "high"]

_THIRD_PARTY: Final = "THIRD_PARTY_AUTH_ERROR"

RULES: Final = (
    Rule(Fault.DEAD, (404,), "UNREGISTERED", meaning="the app was removed, or the token has expired"),
    Rule(Fault.DEAD, (403,), "SENDER_ID_MISMATCH", meaning="the token is another project's"),
    Rule(Fault.DEAD, (400,), "INVALID_ARGUMENT", says="registration token", meaning="no token"),
    Rule(Fault.PERMANENT, (400,), "INVALID_ARGUMENT", meaning="a field is wrong, which one is said"),
    Rule(Fault.ACCOUNT, (404,), "NOT_FOUND", meaning="there is no such project"),
    Rule(Fault.ACCOUNT, (401,), _THIRD_PARTY, meaning="the project's own key for Apple or Web Push is wrong"),
    Rule(Fault.TRANSIENT, (429,), "QUOTA_EXCEEDED", says="device", meaning="too many to this one device"),
    Rule(Fault.THROTTLED, (429,), "QUOTA_EXCEEDED", meaning="too many"),
    Rule(Fault.TRANSIENT, (503,), "UNAVAILABLE", meaning="overloaded; `Retry-After` is obeyed"),
)

_SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
_FCM_ERROR: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_PROJECT: Final = "project"
#: Stands in a URL for the project that only the service account knows.
_OF_ACCOUNT: Final = "%7Bproject%7D"
_encode: Final = msgspec.json.Encoder().encode


@options
class FcmOptions(PushOptions):
    """Delivery by Firebase Cloud Messaging."""

    channel: ClassVar[str] = "fcm"

    service_account: KeySource = option("The JSON key of a service account of the project.", secret=True)
    project: str | None = option("The project's id; none: the service account's.", default=None)
    base_url: str = option("Where FCM is.", default="https://fcm.googleapis.com")
    token_url: str | None = option("Where access tokens come from; none: what the account names.", default=None)
    priority: Priority | None = option(
        "`high` wakes the device. None: Google's choice, high for what is shown.", default=None
    )
    data_only: bool = option("Show nothing: title and body go to the app among the data.", default=False)
    collapse_key: str | None = option("A later message with the same key takes the place of an earlier.", default=None)
    channel_id: str | None = option("Android's notification channel.", default=None)
    sound: str | None = option("The sound that it makes.", default=None)
    badge: int | None = option("The number at the app's icon on Apple's devices.", default=None)
    image: str | None = option("URL of a picture.", default=None)
    analytics_label: str | None = option("The label in Google's statistics.", default=None)
    dry_run: bool = option("Have everything checked and nothing sent.", default=False)


#: What a message may choose for itself in meta `push`; the last three are merged into what we say to each platform.
_WISHES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "priority": str, "data_only": bool, "collapse_key": str, "channel_id": str, "sound": str, "badge": int,
    "image": str, "analytics_label": str, "tag": str, "click_action": str,
    "android": dict, "apns": dict, "webpush": dict,
}  # fmt: skip


@frozen(eq=False)
class Fcm:
    """Implements `egress.api.streams.StreamDialect`."""

    options: FcmOptions
    judge: Judge

    max_batch: int = 1
    own_headers: frozenset[bytes] = frozenset()

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request a recipient."""
        steps: list[Call | Refused] = []
        for message, targets in zip(batch, targets_of(batch), strict=True):
            for target in targets:
                try:
                    steps.append(self._call(message, target, now))
                except ValueError as error:
                    steps.append(Refused((target,), self.judge.outcome(Fault.PERMANENT, str(error))))
        return steps

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """A bearer token, and the project in the URL."""
        url = request.url.replace(_OF_ACCOUNT, quote(secrets.get(_PROJECT, ""), safe=""))
        return with_header(evolve(request, url=url), b"Authorization", f"Bearer {secrets[TOKEN]}")

    def is_unproven(self, reply: HttpResponse) -> bool:
        """Whether it is our access token that Google does not like."""
        return reply.code == 401 and _error(json_of(reply))[0] != _THIRD_PARTY

    def is_goodbye(self, reply: HttpResponse) -> bool:  # noqa: ARG002
        """Google says so by GOAWAY only."""
        return False

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """`projects/*/messages/<id>`, or an error whose details say more than its status."""
        answer = json_of(reply)
        if 200 <= reply.code < 300:
            return [self.judge.delivered(reply, id_in(answer, "name"))] * len(call.targets)
        code, text = _error(answer)
        hint = WAITS.get(code or "") if reply.header("retry-after") is None else None
        return [self.judge.refused(reply, text or text_of(reply), code, hint)] * len(call.targets)

    # -- requests --------------------------------------------------------------------------------

    def _call(self, message: Message, target: Target, now: float) -> Call:
        chosen, recipient = self.options, message.recipients[target[1]]
        token = token_for(message, recipient, chosen)
        wanted = wishes(message, _WISHES)
        note = notification_of(message, chosen.text)
        # The limit is on what the device gets; the address and what is said to the platforms do not count.
        shown = fitted(lambda body: _encode(self._shown(note, body, wanted)), note.body, MAX_PAYLOAD)
        said = self._platforms(message, wanted, now)
        value: JsonObject = {"message": {"token": token, **msgspec.json.decode(shown), **said}}
        if chosen.dry_run:
            value["validateOnly"] = True
        project = quote(chosen.project, safe="") if chosen.project is not None else _OF_ACCOUNT
        url = f"{chosen.base_url.rstrip('/')}/v1/projects/{project}/messages:send"
        headers = ((b"Content-Type", b"application/json"), (b"Accept", b"application/json"))
        return Call(HttpRequest(b"POST", url, headers, _encode(value)), (target,))

    def _shown(self, note: Notification, body: str, wanted: Mapping[str, Any]) -> JsonObject:
        """What the device gets: the notification and the data."""
        data: JsonObject = {name: _text(value) for name, value in note.data.items()}
        told: JsonObject = {name: text for name, text in (("title", note.title), ("body", body)) if text}
        if wanted.get("data_only", self.options.data_only):
            return {"data": {**told, **data}}
        image = wanted.get("image", self.options.image)
        if image:
            told["image"] = image
        return {**({"notification": told} if told else {}), **({"data": data} if data else {})}

    def _platforms(self, message: Message, wanted: Mapping[str, Any], now: float) -> JsonObject:
        """What is said to Android, Apple and browsers, each in its own words."""
        chosen = {name: wanted.get(name, getattr(self.options, name, None)) for name in _WISHES}
        if chosen["priority"] not in (None, *get_args(Priority)):
            raise ValueError(f"meta push: priority must be one of {', '.join(get_args(Priority))}")
        expires = expiry_of(message, self.options.ttl)
        ttl = None if expires is None else int(min(max(expires - now, 0), MAX_TTL))
        blocks: dict[str, JsonObject] = {
            "android": _android(chosen, ttl),
            "apns": _apns(chosen, expires),
            "webpush": _webpush(chosen, ttl),
        }
        value: JsonObject = {}
        for name, block in blocks.items():
            merged = _merged(block, chosen[name] or {})
            if merged:
                value[name] = merged
        if chosen["analytics_label"]:
            value["fcmOptions"] = {"analyticsLabel": chosen["analytics_label"]}
        return value


def _android(chosen: Mapping[str, Any], ttl: int | None) -> JsonObject:
    shown = _given(
        channelId=chosen["channel_id"], sound=chosen["sound"], tag=chosen["tag"], clickAction=chosen["click_action"]
    )
    return _given(
        priority=chosen["priority"].upper() if chosen["priority"] else None,
        collapseKey=chosen["collapse_key"],
        ttl=f"{ttl}s" if ttl is not None else None,
        # A notification for Android alone would have data shown that is not to be.
        notification=shown if shown and not chosen["data_only"] else None,
    )


def _apns(chosen: Mapping[str, Any], expires: float | None) -> JsonObject:
    headers: dict[str, Json] = {
        "apns-priority": {"normal": "5", "high": "10"}.get(chosen["priority"] or ""),
        "apns-collapse-id": chosen["collapse_key"],
        "apns-expiration": str(int(expires)) if expires is not None else None,
    }
    aps = _given(sound=chosen["sound"], badge=chosen["badge"])
    return _given(headers=_given(**headers) or None, payload={"aps": aps} if aps else None)


def _webpush(chosen: Mapping[str, Any], ttl: int | None) -> JsonObject:
    headers = _given(TTL=str(ttl) if ttl is not None else None, Urgency=chosen["priority"])
    return _given(headers=headers or None)


def _given(**members: Json) -> JsonObject:
    return {name: value for name, value in members.items() if value is not None}


def _merged(ours: JsonObject, theirs: Mapping[str, Json]) -> JsonObject:
    """`ours` with what the message says itself, member by member."""
    value = dict(ours)
    for name, wanted in theirs.items():
        mine = value.get(name)
        value[name] = _merged(mine, wanted) if isinstance(mine, dict) and isinstance(wanted, dict) else wanted
    return value


def _text(value: Json) -> str:
    """Data has texts only; what is none goes as JSON."""
    return value if isinstance(value, str) else _encode(value).decode()


def _error(answer: object) -> tuple[str | None, str]:
    """FCM's own code, else Google's; the text with the fields that it is about."""
    error = at(answer, "error")
    details = at(error, "details")
    code, text = at(error, "status"), str(at(error, "message") or "")
    for detail in details if isinstance(details, list) else ():
        if at(detail, "@type") == _FCM_ERROR:
            code = at(detail, "errorCode") or code
        for name in ("fieldViolations", "violations"):
            found = at(detail, name)
            for one in found if isinstance(found, list) else ():
                about = at(one, "field") or at(one, "subject") or ""
                text += f"; {about}: {at(one, 'description') or ''}"
    return (code if isinstance(code, str) else None), text


@frozen(eq=False)
class FcmCredentials:
    """Implements `egress.api.credentials.Credentials`: an access token, and the project of its account."""

    token: OAuthCredentials

    async def get(self) -> Mapping[str, str]:
        """Both, from memory as a rule."""
        account = read_service_account((await self.token.keys.get())["service_account"])
        if not account.project_id:
            raise SecretUnavailable("the service account names no project, and neither does option 'project'", True)
        return {**await self.token.get(), _PROJECT: account.project_id}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Ask for another token, with an account that is read anew."""
        return await self.token.renew({TOKEN: refused[TOKEN]})


class FcmKind(ApiKind):
    """Makes FCM channels: over HTTP/2, which costs half as much a message, or HTTP/1.1 where `base_url` has no TLS."""

    options = FcmOptions

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._keep = StreamKeep(services)

    async def close(self) -> None:
        """See `egress.registry.ClosingKind`."""
        await self._keep.close()

    def dialect(self, options: FcmOptions, peer: Peer) -> Fcm:
        """For one project."""
        return Fcm(options, self.judge(peer, RULES, options))

    def make(  # type: ignore[override] # another kind of channel
        self, protocol: FcmOptions
    ) -> ApiChannel | StreamChannel:
        """The channel for one project. Raises ConfigError."""
        channel = super().make(protocol)
        if not protocol.base_url.startswith("https:"):
            return channel
        return StreamChannel(
            name=channel.name,
            options=protocol,
            base_url=protocol.base_url,
            dialect=lambda peer: self.dialect(protocol, peer),
            credentials=channel.credentials,
            keep=self._keep,
            peer=evolve(channel.peer, delivery_protocol="HTTP/2"),
        )

    def credentials(self, options: FcmOptions) -> Credentials:
        """Access tokens for the service account."""
        token = self.oauth(options, service_account(_SCOPE, url=options.token_url))
        return token if options.project is not None else FcmCredentials(token)

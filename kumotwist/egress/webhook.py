"""Webhooks: messages or what is known of them, posted to a URL, signed as Standard Webhooks has it.

A request has `webhook-id` (the message's id, or that of all messages of a
batch), `webhook-timestamp` and, with secrets, `webhook-signature`. The
receiver knows a call that is repeated by its id, so repeating does no harm.

Where the URL comes from the message, whoever made the message chose it: its
refusals concern that message alone, never the others. A URL that no resolver can
make public (`http://10.0.0.1/`) bounces its message then; the operator's own is a
slip that must cost nothing, so everything waits until it is mended.

Public: `WebhookKind`, `WebhookOptions`, `Webhook`. What can go wrong: ValueError
from options that contradict each other or are no URL or header.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

import msgspec
from attrs import evolve, field, frozen

from kumotwist.config.keysource import KeySource, LiteralKey
from kumotwist.config.option import Duration, WrongOption, option, options
from kumotwist.core.errors import SecretUnavailable
from kumotwist.core.json import Json
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer, Scope
from kumotwist.egress.api.dialect import Call, Refused, Target, targets_of
from kumotwist.egress.api.jsonapi import text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.neutral import as_object
from kumotwist.egress.api.options import CallOptions
from kumotwist.egress.api.parts import parts_of
from kumotwist.egress.api.session import ApiChannel
from kumotwist.net.http import HttpRequest, HttpResponse, clean_header, clean_url
from kumotwist.net.httpform import url_encoded
from kumotwist.net.publicaddress import private_host
from kumotwist.proto.sign.webhooks import signature

RULES: Final = (
    Rule(Fault.DEAD, (410,), meaning="nobody wants it any more"),
    Rule(Fault.PERMANENT, (400, 413, 415, 422), meaning="the receiver cannot read it, nor will it later"),
    Rule(Fault.TRANSIENT, (301, 302, 303, 307, 308), meaning="redirects are not followed"),
    Rule(Fault.TRANSIENT, (404, 405, 406, 409), meaning="the receiver is not set up, or not yet"),
)
_TYPES: Final = {"json": b"application/json", "form": b"application/x-www-form-urlencoded", "raw": b"message/rfc822"}
#: Stands in for a secret URL until the request is authorized.
_LATER: Final = "https://secret.invalid/"
#: Characters of a URL that a message brings. Ours: the longest that servers commonly take.
MAX_URL: Final = 8192


@options
class WebhookOptions(CallOptions):
    """Delivery by calling a URL."""

    channel: ClassVar[str] = "webhook"

    url: str | None = option("Where to post to.", default=None)
    secret_url: KeySource | None = option("The URL, where it is a secret.", default=None, secret=True)
    url_meta: str | None = option("Meta key that has the URL instead; each message is then a call.", default=None)
    content: Literal["message", "raw", "meta", "value"] = option(
        "`message`: all of it; `raw`: its MIME; `meta`: the keys that `meta` names; `value`: what the first one has.",
        default="message",
    )
    meta: tuple[str, ...] = option("Meta keys that are sent along.", default=())
    attachments: bool = option("Send files with their content, not only their names and sizes.", default=False)
    format: Literal["json", "form"] = option("How it is written.", default="json")
    secrets: tuple[KeySource, ...] = option(
        "What signs it: the new secret first, then the old one until all receivers know the new.",
        default=(),
        secret=True,
    )
    authorization: KeySource | None = option(
        "The value of an Authorization header, such as `Bearer ...`.", default=None, secret=True
    )
    headers: Mapping[str, str] = option("Further headers of the request.", factory=dict, is_hashed=False)
    batch_size: int = option("Messages in one call; above 1 it is always an array.", default=1, unit="messages")
    min_batch_size: int = option("Wait for this many, up to `max_batch_latency`.", default=1, unit="messages")
    max_batch_latency: Duration = option("How long to wait for `min_batch_size`.", default=Duration(0.0))
    allow_private_addresses: bool = option("Let it reach addresses that are not on the public Internet.", default=False)

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for what makes no sense together."""
        if sum(one is not None for one in (self.url, self.secret_url, self.url_meta)) != 1:
            raise ValueError("must have either 'url', 'secret_url' or 'url_meta'")
        if self.content == "value" and not self.meta:
            raise WrongOption("meta", "must name the key that has the value")
        if self.batch_size < 1:
            raise WrongOption("batch_size", "must be at least 1")
        if self.batch_size > 1 and (self.url_meta is not None or self.content == "raw" or self.format == "form"):
            raise WrongOption("batch_size", "above 1 makes a JSON array for one URL")
        if self.url is not None:
            self._check("url", _checked, self.url)
        for name, value in self.headers.items():
            self._check(f"headers.{name}", clean_header, name.encode(), value.encode())

    def misled(self) -> tuple[str, str] | None:
        """A URL that stands in the policy and is not on the public Internet, unless that is allowed."""
        secret = self.secret_url.key_data.decode("utf-8", "replace") if isinstance(self.secret_url, LiteralKey) else ""
        for name, url in (("url", self.url or ""), ("secret_url", secret)):
            if url and not self.allow_private_addresses and (host := private_host(url)) is not None:
                return name, (
                    f"leads to {host}, which is not on the public Internet: nobody would be called; mend it, or set "
                    "allow_private_addresses = true beside it"
                )
        return None

    @staticmethod
    def _check(option_name: str, check: Callable[..., object], *given: object) -> None:
        try:
            check(*given)
        except ValueError as error:
            raise WrongOption(option_name, f"is wrong: {error}") from None


@frozen(eq=False)
class Webhook:
    """Implements `egress.api.dialect.Dialect`."""

    options: WebhookOptions
    judge: Judge
    max_batch: int = field(init=False)

    @max_batch.default
    def _batch_size(self) -> int:
        return self.options.batch_size

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request for the batch, less what cannot be sent so."""
        slip = self._slip("url", self.options.url or "")
        if slip is not None:
            waits = self.judge.outcome(Fault.ACCOUNT, slip, self.options.rest)
            return [Refused(targets, waits) for targets in targets_of(batch)]
        steps: list[Call | Refused] = []
        values: list[tuple[Message, tuple[Target, ...], object]] = []
        for message, targets in zip(batch, targets_of(batch), strict=True):
            value = self._content(message, targets)
            if isinstance(value, Refused):
                steps.append(value)
            else:
                values.append((message, targets, value))
        if not values:
            return steps
        if self.options.batch_size > 1:
            together = tuple(target for _, targets, _ in values for target in targets)
            return [*steps, self._call([one for one, _, _ in values], together, [value for _, _, value in values])]
        return [*steps, *(self._call([message], targets, value) for message, targets, value in values)]

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:
        """Stamped, and signed with each secret. Raises SecretUnavailable for a secret that is no URL."""
        request = with_header(request, b"webhook-timestamp", str(int(now)))
        keys = [secrets[f"secrets {number}"] for number in range(1, len(self.options.secrets) + 1)]
        if keys:
            signed = signature(keys, _id_of(request), int(now), request.body or b"")
            request = with_header(request, b"webhook-signature", signed)
        if "authorization" in secrets:
            request = with_header(request, b"Authorization", secrets["authorization"])
        if "secret_url" not in secrets:
            return request
        try:
            url = _checked(secrets["secret_url"])
        except ValueError:
            raise SecretUnavailable("secret_url is no http or https URL", permanent=True) from None
        slip = self._slip("secret_url", url)
        if slip is not None:
            raise SecretUnavailable(slip, permanent=True)
        return evolve(request, url=url)

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """Any 2xx is a yes."""
        text = text_of(reply)
        is_taken = 200 <= reply.code < 300
        outcome = self.judge.delivered(reply, None, text) if is_taken else self.judge.refused(reply, text)
        if self.options.url_meta is not None:
            outcome = evolve(outcome, peer=_at(self.judge.peer, call.request.url), scope=Scope.MESSAGE)
        return [outcome] * len(call.targets)

    def _slip(self, option: str, url: str) -> str | None:
        """What to tell the operator when `url` can never be called as things are set up; None when it may be."""
        host = None if self.options.allow_private_addresses else private_host(url)
        if host is None:
            return None
        mend = f"mend option '{option}' of protocol.webhook, or set its allow_private_addresses = true"
        return f"nobody was called: {host} is not on the public Internet; {mend}"

    def _content(self, message: Message, targets: tuple[Target, ...]) -> object:
        """What to send of a message: octets when raw, else JSON; or why it cannot be."""
        chosen = self.options
        if chosen.url_meta is not None:
            try:
                url = _url_of(message, chosen.url_meta)
                if self._slip("url_meta", url) is not None:
                    raise ValueError(f"what stands in meta {chosen.url_meta!r} is not on the public Internet")
            except ValueError as error:
                return Refused(targets, self.judge.outcome(Fault.PERMANENT, f"no URL to call: {error}"))
        if chosen.content == "raw":
            return message.body or b""
        if chosen.content == "meta":
            return {key: message.meta[key] for key in chosen.meta if key in message.meta}
        if chosen.content == "value":
            if chosen.meta[0] in message.meta:
                return message.meta[chosen.meta[0]]
            return Refused(targets, self.judge.outcome(Fault.PERMANENT, f"there is no meta {chosen.meta[0]!r}"))
        parts = parts_of(message, targets, self.judge, for_reading=True, with_files=True)
        if isinstance(parts, Refused):
            return parts
        return as_object(message, parts, chosen.meta, chosen.attachments)

    def _call(self, messages: Sequence[Message], targets: tuple[Target, ...], value: object) -> Call:
        chosen = self.options
        kind = "raw" if chosen.content == "raw" else chosen.format
        ids = [one.id.hex() for one in messages]
        # The id of a batch is that of its members: another batch, even one that begins alike, is another call.
        name = ids[0] if chosen.batch_size == 1 else f"batch_{sha256(''.join(ids).encode()).hexdigest()[:32]}"
        headers = [(b"Content-Type", _TYPES[kind]), (b"webhook-id", name.encode())]
        headers += [(key.encode(), text.encode()) for key, text in chosen.headers.items()]
        if chosen.url_meta is not None:
            url = _url_of(messages[0], chosen.url_meta)
        else:
            url = clean_url(chosen.url) if chosen.url is not None else _LATER
        request = HttpRequest(b"POST", url, tuple(headers), _written(kind, value), has_secret_path=True)
        return Call(request, targets, is_idempotent=True)


def _written(kind: str, value: object) -> bytes:
    """The body. Forms have a field for each member; what is no text stands there as JSON."""
    if isinstance(value, bytes):
        return value
    if kind == "json":
        return msgspec.json.encode(value)
    members: Mapping[str, Json] = value if isinstance(value, dict) else {"value": value}  # type: ignore[dict-item]
    return url_encoded(
        [(key, one if isinstance(one, str) else msgspec.json.encode(one).decode()) for key, one in members.items()]
    )


def _url_of(message: Message, key: str) -> str:
    """Where the message wants to go. Raises ValueError."""
    value = message.meta.get(key)
    if not isinstance(value, str) or len(value) > MAX_URL:
        raise ValueError(f"there is none in meta {key!r}")
    try:
        return _checked(value)
    except ValueError:  # its text quotes the path, which may be all that keeps others from calling it
        raise ValueError(f"what stands in meta {key!r} is none") from None


def _checked(text: str) -> str:
    """A URL as it can be called. Raises ValueError."""
    url = clean_url(text)
    urlsplit(url).port  # noqa: B018 # raises for what is no number
    return url


def _id_of(request: HttpRequest) -> str:
    return next(value for name, value in request.headers if name == b"webhook-id").decode()


def _at(peer: Peer, url: str) -> Peer:
    host = urlsplit(url).netloc.rpartition("@")[2]
    return evolve(peer, name=host, addr=host)


class WebhookKind(ApiKind):
    """Makes webhook channels."""

    options = WebhookOptions
    #: A secret URL that was replaced may be gone.
    unauthorized = frozenset((401, 403, 404, 410))

    def reaches_private(self, options: WebhookOptions) -> bool:
        """Only when the policy says so; whatever DNS or a redirect says."""
        return options.allow_private_addresses

    def make(self, protocol: WebhookOptions) -> ApiChannel:
        """The channel for one URL, or for the URLs that messages bring."""
        host = urlsplit(protocol.url).netloc.rpartition("@")[2] if protocol.url is not None else "webhook"
        channel = self.built(protocol, Peer(host, host, "HTTP", channel="webhook", account=protocol.account))
        return evolve(
            channel,
            min_batch=min(protocol.min_batch_size, protocol.batch_size),
            batch_latency=protocol.max_batch_latency,
            has_own_sites=protocol.url_meta is not None,
            # What strangers' URLs say of our secrets makes nobody read them anew.
            unauthorized=self.unauthorized if protocol.url_meta is None else frozenset(),
        )

    def dialect(self, options: WebhookOptions, peer: Peer) -> Webhook:
        """For these options."""
        return Webhook(options, evolve(self.judge(peer, RULES, options), believes_pages=True))

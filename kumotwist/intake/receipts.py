"""The receipts intake: `/receipts/CHANNEL/ACCOUNT`, one pair of routes for each account that a listener names.

A call proves itself by what the operator chose (Basic, bearer, token, address)
and by the provider's signature over the raw bytes; then its events go to disk,
and only then the provider hears 200. What becomes of them is not its concern.

Answers: 200 also for what we cannot read and for what we have seen before,
since sending it again would not help; 401, 403 for what does not prove itself
(406 to Mailgun, which then stops trying); 413 from the server; 503 when it
cannot be noted now.

Public: `ReceiptIntake`. Nothing reaches the caller but `HttpError`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs
from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from kumotwist.config.keysource import EnvironmentKey, EventKey, FileKey, KeySource, LiteralKey, VaultKey
from kumotwist.config.receipts import ReceiptProof, ReceiptSources, SnsReceipts
from kumotwist.core.errors import Overload, SecretUnavailable, StateUnavailable
from kumotwist.core.interfaces import KeyLoader
from kumotwist.core.receipt import METADATA_ID, ReceiptEvent
from kumotwist.core.stats import Sample
from kumotwist.intake.http.auth import CHALLENGE
from kumotwist.intake.sns import SnsGate
from kumotwist.net.clock import Clock
from kumotwist.net.http import HttpError as ClientError
from kumotwist.net.operation import FORM, JSON, Operation, text_answer
from kumotwist.net.router import Handler, HttpError, HttpRequest, Reply, Route, text_reply
from kumotwist.proto.receipts.callback import Callback, Scheme, Unproven, Unreadable
from kumotwist.proto.receipts.reading import our_id
from kumotwist.proto.receipts.schemes import SCHEMES
from kumotwist.proto.receipts.signing import AHEAD, same
from kumotwist.proto.receipts.sns import read_envelope
from kumotwist.records.receipts.desk import ReceiptDesk

log: Final = Logger()

#: Seconds after which a provider that heard 503 should try again.
RETRY_AFTER: Final = {"Retry-After": "30"}
#: Seconds between two lines of the log about the same account: whoever likes can make us say them.
COMPLAINT_INTERVAL: Final = 60.0
#: Mailgun gives up at this status and at no other.
_NOT_ACCEPTABLE: Final = 406
_KEY_SOURCES: Final = (FileKey, LiteralKey, EnvironmentKey, EventKey, VaultKey)


@frozen
class _Account:
    """One account of one channel, as a listener serves it."""

    scheme: Scheme
    name: str
    options: ReceiptProof
    #: Scheme and port by which a client reaches us when no proxy stands between.
    url_scheme: str

    @property
    def path(self) -> str:
        return f"/receipts/{self.scheme.channel}/{self.name}"

    def keys(self) -> Mapping[str, KeySource]:
        """The options that name a secret."""
        cls: type = type(self.options)
        found = {one.name: getattr(self.options, one.name) for one in attrs.fields(cls)}
        return {name: value for name, value in found.items() if isinstance(value, _KEY_SOURCES)}


@define(eq=False)
class ReceiptIntake:
    """Serves the accounts of all listeners of a worker."""

    _desk: ReceiptDesk
    _keys: KeyLoader
    _sns: SnsGate
    _clock: Clock
    _refused: dict[tuple[str, str, str], int] = field(factory=dict, init=False)
    _complained: dict[tuple[str, str, str], float] = field(factory=dict, init=False)

    def routes(self, sources: ReceiptSources, use_tls: bool) -> list[Route]:
        """The routes of one listener."""
        found = []
        for channel, name, options in sources.accounts():
            account = _Account(SCHEMES[channel], name, options, "https" if use_tls else "http")
            handler = self._handler(account)
            # Some providers call with GET, as some of their accounts are set.
            found += [
                Route(method, account.path, handler, _operation(account, method), is_guarded=False)
                for method in ("POST", "GET")
            ]
        return found

    def samples(self) -> Iterable[Sample]:
        """What was not taken, and why."""
        for values, count in self._refused.items():
            labels = tuple(zip(("channel", "account", "reason"), values, strict=True))
            yield Sample("total_receipts_refused", count, labels)

    def _handler(self, account: _Account) -> Handler:
        async def handle(request: HttpRequest) -> Reply:
            return await self._take(account, request)

        return handle

    async def _take(self, account: _Account, request: HttpRequest) -> Reply:
        callback, now = _callback(account, request), self._clock.seconds()
        try:
            secrets = await self._secrets(account)
            _prove_generally(account, request, callback, secrets)
            token, wants_events = await self._prove(account, callback, secrets, now)
            events = self._read(account, callback) if wants_events else ()
            until = now + account.scheme.age_limit(account.options) + AHEAD
            named = f"{account.path} {token}" if token else ""
            if not await self._desk.receive_once(events, named, until):
                self._complain(account, "replay", "a call that was taken before came again; nothing was noted")
        except Unproven as error:
            self._complain(account, "proof", f"a call was refused: {error}")
            code = _NOT_ACCEPTABLE if account.scheme.channel == "mailgun" else 403
            raise HttpError(code, "Error: the call does not prove where it comes from") from None
        except (StateUnavailable, Overload, SecretUnavailable, ClientError) as error:
            self._complain(account, "trouble", f"a call cannot be taken now: {error}")
            raise HttpError(503, "Error: try again later", RETRY_AFTER) from None
        return text_reply(200, "")

    async def _secrets(self, account: _Account) -> Mapping[str, str]:
        """The account's secrets by the names of their options. Raises SecretUnavailable."""
        found = {}
        for name, source in account.keys().items():
            value = (await self._keys.load(source)).decode("utf-8", "replace").strip()
            if not value:
                # An empty key would make every signature right that was made with none.
                raise SecretUnavailable(f"{name} is empty", permanent=True)
            found[name] = value
        return found

    async def _prove(
        self, account: _Account, callback: Callback, secrets: Mapping[str, str], now: float
    ) -> tuple[str, bool]:
        """What the call shows but once, and whether it has events. Raises Unproven, ClientError."""
        options = account.options
        try:
            if isinstance(options, SnsReceipts) and options.topics:
                envelope = read_envelope(callback, options.topics)
                wants_events = await self._sns.admit(envelope, now, account.scheme.age_limit(options))
                return envelope.message_id, wants_events
            if account.scheme.verify is not None:
                return account.scheme.verify(callback, options, secrets, now), True
        except Unreadable as error:
            raise Unproven(str(error)) from None
        return "", True

    def _read(self, account: _Account, callback: Callback) -> Sequence[ReceiptEvent]:
        """The events; none, and a line in the log, when the call cannot be read."""
        try:
            spool_id = our_id(callback.parameters().get(METADATA_ID))
            events = account.scheme.parse(callback)
        except Unreadable as error:
            self._complain(account, "unreadable", f"a call cannot be read: {error}")
            return ()
        return [evolve(one, account=account.name, spool_id=one.spool_id or spool_id) for one in events]

    def _complain(self, account: _Account, reason: str, text: str) -> None:
        key, now = (account.scheme.channel, account.name, reason), self._clock.seconds()
        self._refused[key] = self._refused.get(key, 0) + 1
        if now - self._complained.get(key, 0.0) >= COMPLAINT_INTERVAL:
            self._complained[key] = now
            log.warn("{path}: {text}", path=account.path, text=text)


def _operation(account: _Account, method: str) -> Operation:
    """What the document says of the account's route; the calls themselves are the provider's to describe."""
    channel, name = account.scheme.channel, account.name
    refused = _NOT_ACCEPTABLE if channel == "mailgun" else 403
    return Operation(
        name=f"receipts_{channel}_{name}_{method.lower()}",
        tag="receipts",
        summary=f"Receipts of {channel}, account {name}.",
        text="Called by the provider, as it describes. 200 means that the events are on disk.",
        takes=(JSON, FORM) if method == "POST" else (),
        answers={
            200: text_answer("Noted, or nothing that we could read or had not seen before."),
            401: text_answer("A password is wanted.", {"WWW-Authenticate": "The challenge."}),
            refused: text_answer("The call does not prove where it comes from."),
            503: text_answer("Cannot be noted now.", {"Retry-After": "Seconds to wait."}),
        },
    )


def _callback(account: _Account, request: HttpRequest) -> Callback:
    """The call as the provider made it: the URL that it signed is the one that it was given."""
    base = account.options.public_url or f"{account.url_scheme}://{request.headers('host') or request.local_address}"
    query = f"?{request.query_string}" if request.query_string else ""
    return Callback(
        method=request.method,
        url=f"{base.rstrip('/')}{account.path}{query}",
        query=request.query_string,
        header=lambda name: request.headers(name.lower()),
        body=request.body,
    )


def _prove_generally(account: _Account, request: HttpRequest, callback: Callback, secrets: Mapping[str, str]) -> None:
    """Address, token, Basic and bearer, as far as they are asked for. Raises Unproven, HttpError 401."""
    options = account.options
    if options.hosts.networks and request.peer_address not in options.hosts:
        raise Unproven(f"{request.peer_address} is not among its hosts")
    if "token" in secrets and not same(secrets["token"], _token(callback)):
        raise Unproven("the token is wrong")
    scheme, _, shown = (request.headers("authorization") or "").strip().partition(" ")
    if "bearer" in secrets and not (scheme.lower() == "bearer" and same(secrets["bearer"], shown.strip())):
        raise Unproven("the bearer token is wrong")
    if options.basic_user is not None:
        if scheme.lower() != "basic":
            # Many clients show a password only when they are asked for it.
            raise HttpError(401, "Error: authentication is required", CHALLENGE)
        if not same(f"{options.basic_user}:{secrets['basic_password']}", _decoded(shown)):
            raise Unproven("user or password are wrong")


def _token(callback: Callback) -> str:
    try:
        return callback.parameters().get("token", "")
    except Unreadable:
        return ""


def _decoded(credential: str) -> bytes:
    try:
        return base64.b64decode(credential.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""

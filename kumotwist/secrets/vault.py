"""A session with one Vault, as blocking calls: token, lease, renewal, one re-login, reads.

Runs on the threads of `secrets.pool` and is shared by them: the token is one,
the HTTP client is one per thread (a requests session is not promised to be
thread-safe). The only importer of hvac.

Public: `VaultSession`. Every failure is a SecretUnavailable that names the
secret's place, never a token or value; the exceptions of hvac and requests
stay inside, since they carry requests and replies.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final, TypeVar

import hvac
import hvac.exceptions
import requests.exceptions
from attrs import define, field

from kumotwist.core.errors import SecretUnavailable
from kumotwist.core.json import Json, JsonObject
from kumotwist.net.ending import kind_in_words
from kumotwist.secrets.connection import VaultConnection

T = TypeVar("T")

#: Seconds for one request. A healthy Vault answers in milliseconds; hvac's own
#: default of 30 would hold a thread through most of an outage.
TIMEOUT: Final = 10
#: A token is renewed when this much of its lease is over (the Vault agent's rule).
RENEW_AT: Final = 2 / 3
#: Seconds between attempts to renew that failed for want of a Vault.
RENEW_RETRY: Final = 10.0
#: Further attempts on 412 and the like: a performance standby that lags behind
#: its primary catches up within a second.
STALE_READ_RETRIES: Final = 3
_TOKEN_FILE_LIMIT: Final = 65536

_DENIED: Final = (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized)
#: What Vault answers by the classes that hvac makes of it; their texts hold requests and replies.
_ANSWERS: Final = (
    (hvac.exceptions.Unauthorized, "Vault does not know the token (401)"),
    (hvac.exceptions.Forbidden, "Vault denies the permission (403)"),
    (hvac.exceptions.InvalidPath, "Vault has nothing there (404)"),
    (hvac.exceptions.UnsupportedOperation, "Vault does not support that there (405)"),
    (hvac.exceptions.PreconditionFailed, "Vault is behind its primary (412)"),
    (hvac.exceptions.InternalServerError, "Vault failed (500)"),
    (hvac.exceptions.VaultNotInitialized, "Vault is not initialized (501)"),
    (hvac.exceptions.BadGateway, "Vault cannot reach what is behind it (502)"),
)
_TRANSIENT: Final = (hvac.exceptions.VaultError, requests.exceptions.RequestException, OSError)


@define(eq=False)
class VaultSession:
    """Who we are at `connection`; `now` tells Unix seconds, `sleep` blocks the calling thread.

    All methods may be called from any thread. `renew_at` is when `renew` is
    due, None when the token has no lease.
    """

    connection: VaultConnection
    now: Callable[[], float]
    sleep: Callable[[float], None]
    renew_at: float | None = field(default=None, init=False)
    _token: str | None = field(default=None, init=False, repr=False)
    _token_file_stamp: tuple[int, int, int] | None = field(default=None, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _clients: threading.local = field(factory=threading.local, init=False)

    def read(self, mount: str, path: str, version: int) -> JsonObject:
        """All fields of a secret. Raises SecretUnavailable."""
        place = f"Vault secret {mount}/{path} at {self.connection.place}"
        try:
            return self._with_one_login(lambda client: _read(client, mount, path, version, self.sleep))
        except hvac.exceptions.InvalidPath:
            raise SecretUnavailable(f"{place}: there is no such secret", permanent=True) from None
        except _DENIED:
            raise SecretUnavailable(f"{place}: Vault denied access (403)") from None
        except _TRANSIENT as error:
            raise SecretUnavailable(f"{place}: {_describe(error)}") from None

    def renew(self) -> None:
        """Renew the token, or log in anew when it cannot be renewed. Never raises."""
        try:
            self._renew()
        except _DENIED:
            self.renew_at = None  # the next read meets the 403 and says so
        except (SecretUnavailable, *_TRANSIENT):
            self.renew_at = self.now() + RENEW_RETRY

    def _renew(self) -> None:
        token = self._current_token()
        try:
            reply = self._client(token).auth.token.renew_self()
            self._note_lease(reply["auth"])
        except (*_DENIED, hvac.exceptions.InvalidRequest):
            if self._new_token(token) is None:
                self.renew_at = None

    def _with_one_login(self, call: Callable[[hvac.Client], T]) -> T:
        token = self._current_token()
        try:
            return call(self._client(token))
        except _DENIED:
            renewed = self._new_token(token)
            if renewed is None:
                raise
            return call(self._client(renewed))

    def _client(self, token: str) -> hvac.Client:
        """The calling thread's client, speaking with `token`."""
        client: hvac.Client | None = getattr(self._clients, "client", None)
        if client is None:
            client = hvac.Client(
                url=self.connection.address,
                token="",  # not from the environment: the connection says who we are
                verify=self.connection.ca_cert or True,
                timeout=TIMEOUT,
                namespace=self.connection.namespace,
            )
            self._clients.client = client
        client.token = token
        return client

    def _current_token(self) -> str:
        """The token in use; gets one when there is none or the token file has changed."""
        with self._lock:
            if self._token is None or self._is_token_file_new():
                self._obtain()
            assert self._token is not None
            return self._token

    def _new_token(self, refused: str) -> str | None:
        """Another token than `refused`, None when there is no way to get one.

        Threads that meet the same refusal log in once between them.
        """
        with self._lock:
            if self._token == refused:
                if self.connection.token is not None:
                    return None
                self._obtain()
            return self._token if self._token != refused else None

    def _obtain(self) -> None:
        connection = self.connection
        if connection.token is not None:
            self._token = connection.token
        elif connection.token_file is not None:
            self._token = self._read_token_file(connection.token_file)
        else:
            self._token = None
            reply = self._client("").auth.approle.login(connection.role_id, connection.secret_id, use_token=False)
            self._token = str(reply["auth"]["client_token"])
            self._note_lease(reply["auth"])
            return
        self._look_up_lease()

    def _read_token_file(self, path: str) -> str:
        try:
            with open(path, encoding="utf-8") as file:
                self._token_file_stamp = _stamp(os.fstat(file.fileno()))
                token = file.read(_TOKEN_FILE_LIMIT).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SecretUnavailable(f"Vault token file {path}: {_describe(error)}") from None
        if not token:
            raise SecretUnavailable(f"Vault token file {path} is empty")
        return token

    def _is_token_file_new(self) -> bool:
        if self.connection.token_file is None:
            return False
        try:
            return _stamp(os.stat(self.connection.token_file)) != self._token_file_stamp
        except OSError:
            return False  # gone for the moment: an agent is replacing it

    def _look_up_lease(self) -> None:
        """Learn the lease of a token that we did not get by login; policy may forbid it to us."""
        self.renew_at = None
        try:
            facts = self._client(self._token or "").auth.token.lookup_self()["data"]
            self._note_lease({"lease_duration": facts.get("ttl"), "renewable": facts.get("renewable")})
        except _TRANSIENT:
            return

    def _note_lease(self, auth: JsonObject) -> None:
        """A lease that cannot be renewed is let run out; the 403 then leads to a login."""
        seconds = auth.get("lease_duration")
        has_lease = isinstance(seconds, int) and seconds > 0 and bool(auth.get("renewable"))
        self.renew_at = self.now() + float(str(seconds)) * RENEW_AT if has_lease else None


def _read(client: hvac.Client, mount: str, path: str, version: int, sleep: Callable[[float], None]) -> JsonObject:
    for attempt in range(STALE_READ_RETRIES + 1):
        try:
            if version == 1:
                return _fields(client.secrets.kv.v1.read_secret(path, mount_point=mount), "data")
            reply = client.secrets.kv.v2.read_secret_version(path, mount_point=mount, raise_on_deleted_version=True)
            return _fields(reply, "data", "data")
        except hvac.exceptions.UnexpectedError:  # hvac's name for 412, among others
            if attempt == STALE_READ_RETRIES:
                raise
            sleep(0.1 * 2**attempt)
    raise AssertionError


def _fields(reply: Json, *keys: str) -> JsonObject:
    for key in keys:
        reply = reply.get(key) if isinstance(reply, dict) else None
    if not isinstance(reply, dict):
        raise hvac.exceptions.InvalidPath
    return reply


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _describe(error: Exception) -> str:
    """What went wrong without what was sent or received."""
    match error:
        case hvac.exceptions.VaultDown():
            return "Vault is sealed or in standby (503)"
        case hvac.exceptions.RateLimitExceeded():
            return "Vault's rate limit is exceeded (429)"
        case hvac.exceptions.InvalidRequest():
            return "Vault refused the request or the login (400)"
        case hvac.exceptions.VaultError():
            return next(
                (text for kind, text in _ANSWERS if isinstance(error, kind)), "Vault answered with an unknown status"
            )
        case requests.exceptions.Timeout():
            return f"Vault did not answer within {TIMEOUT} s"
        case requests.exceptions.SSLError():
            return "Vault's certificate does not verify"
        case requests.exceptions.ConnectionError():
            return "cannot connect to Vault"
        case OSError(strerror=str(text)):
            return text
    return kind_in_words(error)

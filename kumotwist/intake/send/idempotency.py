"""Idempotency keys: a request that is sent again has no further effect and gets its first answer again.

A request with a key is written down, with the ids that its messages will have,
before any of them is saved; its answer is written down after they were saved
and before they are queued. So whenever the process dies, one look at the spool
tells what became of the request: a message that is there was accepted, and one
that is not there was never on its way. `Keys.settle` takes that look when a
worker has claimed its part of the spool, before anything is queued out of it.

After draft-ietf-httpapi-idempotency-key-header-07, except that another body
under the same key is 409 and not 422, as is a request whose first one is still
under way.

Public: `Keys`, `Reservation`, `Answered`, `Interrupted`, `Refusal`, `KeyName`,
`SCHEMA`, `key_of`, `scope_of`. What can go wrong: ValueError for a header that
is no key; `StateUnavailable` and `Overload` from the state file.
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from attrs import define, frozen

from kumotwist.core.connection import AuthInfo
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import MessageStore
from kumotwist.net.clock import Clock
from kumotwist.net.sqlite import SqliteFile

#: Seconds for which an answer is remembered, from the first request.
TTL: Final = 86400.0
#: Characters of a key. Ours: a UUID has 36; the best known API with such keys takes 255.
MAX_KEY: Final = 255
#: Rows that one sweep removes in one transaction, so that others get their turn.
SWEEP_ROWS: Final = 1_000
#: Seconds between two sweeps. Ours: what is too old is not looked at before it is swept either.
SWEEP_INTERVAL: Final = 600.0
SCHEMA: Final = (
    # `shard` tells which part of the spool a request under way writes to, and is null afterwards. `answer` is null
    # for one whose end was found out after a crash; `ids` then has zeros where no message is.
    """CREATE TABLE IF NOT EXISTS idempotency (
      name BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, created REAL NOT NULL, shard INTEGER,
      ids BLOB NOT NULL, answer BLOB)""",
    "CREATE INDEX IF NOT EXISTS idempotency_created ON idempotency (created)",
    "CREATE INDEX IF NOT EXISTS idempotency_shard ON idempotency (shard) WHERE shard IS NOT NULL",
)

_ID_OCTETS: Final = 16
_NO_ID: Final = bytes(_ID_OCTETS)
#: RFC 8941 s3.3.3, a string in quotes; clients that know nothing of the draft send it bare.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"\Z')
_BARE: Final = re.compile(r"[!#-+\--:<-~]+\Z")


def key_of(header: str) -> str:
    """The key that an `Idempotency-Key` header names. Raises ValueError."""
    text = header.strip()
    quoted = _QUOTED.match(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text if _BARE.match(text) else ""
    if not 1 <= len(key) <= MAX_KEY:
        raise ValueError(f'Idempotency-Key must be a text of 1 to {MAX_KEY} characters, as "8e03978e-40d5-43dd"')
    return key


def scope_of(auth: AuthInfo) -> str:
    """Whose keys those of a client are: of the user; of the address for somebody without a name."""
    if auth.identities:
        return f"{auth.identities[0].context} {auth.identities[0].identity}"
    return f"address {auth.peer_address}"


@frozen
class KeyName:
    """A key within its scope, and the fingerprint of the request that came with it."""

    name: bytes
    fingerprint: bytes

    @classmethod
    def of(cls, scope: str, key: str, path: str, body: bytes) -> KeyName:
        """Only hashes are kept."""
        name = hashlib.sha256(f"{scope}\0{key}".encode()).digest()
        return cls(name, hashlib.sha256(path.encode() + b"\0" + body).digest())


class Refusal(enum.Enum):
    """Why a request with a key is not taken; the value says it to the client."""

    OTHER_REQUEST = "this Idempotency-Key was used with another request"
    UNDER_WAY = "the first request with this Idempotency-Key is still under way"


@frozen
class Answered:
    """The request was answered before; `answer` is the body of that 200."""

    answer: bytes


@frozen
class Interrupted:
    """The process died before it answered. Per recipient: the id of the message that was saved, None for none."""

    ids: Sequence[SpoolId | None]


@define(eq=False)
class Reservation:
    """The right to work on a request; ends with `finish` or `release`.

    Neither is called when it is not known whether the messages are on disk:
    then the next start finds it out.
    """

    ids: Sequence[SpoolId]
    _name: bytes
    _file: SqliteFile

    async def finish(self, answer: bytes) -> None:
        """Remember the answer; may be called again with a better one. Raises StateUnavailable, Overload."""
        packed = zlib.compress(answer, 1)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE idempotency SET shard = NULL, answer = ? WHERE name = ? AND ids = ?",
                (packed, self._name, b"".join(self.ids)),
            )

        await self._file.write(work)

    async def release(self) -> None:
        """Forget the request: nothing came of it, and it may come again. Raises StateUnavailable, Overload."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM idempotency WHERE name = ? AND ids = ?", (self._name, b"".join(self.ids)))

        await self._file.write(work)


@define(eq=False)
class Keys:
    """The keys of all workers, as one of them uses them; `shard` is where its messages are written."""

    _file: SqliteFile
    _shard: int
    _clock: Clock

    async def reserve(self, key: KeyName, ids: Sequence[SpoolId]) -> Reservation | Answered | Interrupted | Refusal:
        """Be the one who works on the request, with these ids for its recipients; or learn what became of it.

        Raises StateUnavailable, Overload.
        """
        now = self._clock.seconds()
        row = (key.name, key.fingerprint, now, self._shard, b"".join(ids))

        def work(connection: sqlite3.Connection) -> tuple[bytes, int | None, bytes, bytes | None] | None:
            connection.execute("DELETE FROM idempotency WHERE name = ? AND created <= ?", (key.name, now - TTL))
            inserted = connection.execute(
                "INSERT INTO idempotency (name, fingerprint, created, shard, ids) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                row,
            )
            if inserted.rowcount:
                return None
            found: tuple[bytes, int | None, bytes, bytes | None] = connection.execute(
                "SELECT fingerprint, shard, ids, answer FROM idempotency WHERE name = ?", (key.name,)
            ).fetchone()
            return found

        found = await self._file.write(work)
        if found is None:
            return Reservation(ids, key.name, self._file)
        fingerprint, shard, kept, answer = found
        if fingerprint != key.fingerprint:
            return Refusal.OTHER_REQUEST
        if shard is not None:
            return Refusal.UNDER_WAY
        return Answered(zlib.decompress(answer)) if answer is not None else Interrupted(_ids(kept))

    async def settle(self, shards: Iterable[int], store: MessageStore) -> None:
        """Find out what became of the requests that were under way when the last owner of `shards` died.

        To be called by who holds the shards now, before anything in them is
        queued. Raises StateUnavailable.
        """
        mine = json.dumps(list(shards))

        def unfinished(connection: sqlite3.Connection) -> list[tuple[bytes, bytes]]:
            return connection.execute(
                "SELECT name, ids FROM idempotency WHERE shard IN (SELECT value FROM json_each(?))", (mine,)
            ).fetchall()

        for name, ids in await self._file.read(unfinished):
            # One by one: they come with their bodies.
            there = [spool_id for spool_id in _ids(ids) if spool_id and (await store.load((spool_id,)))[0] is not None]
            await self._file.write(_ending(name, ids, set(there)))

    async def sweep(self) -> None:
        """Remove what is too old, a bounded number at a time. Raises StateUnavailable, Overload."""
        limit = self._clock.seconds() - TTL

        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "DELETE FROM idempotency WHERE name IN (SELECT name FROM idempotency WHERE created <= ? LIMIT ?)",
                (limit, SWEEP_ROWS),
            ).rowcount

        while await self._file.write(work) == SWEEP_ROWS:
            pass


def _ids(kept: bytes) -> list[SpoolId | None]:
    ids = [kept[at : at + _ID_OCTETS] for at in range(0, len(kept), _ID_OCTETS)]
    return [SpoolId(one) if one != _NO_ID else None for one in ids]


def _ending(name: bytes, ids: bytes, there: set[SpoolId]) -> Callable[[sqlite3.Connection], object]:
    """The change that ends an interrupted request: it is forgotten when none of its messages is there."""
    if not there:
        return lambda connection: connection.execute("DELETE FROM idempotency WHERE name = ? AND ids = ?", (name, ids))
    kept = b"".join([one if one in there else _NO_ID for one in _ids(ids) if one is not None])
    return lambda connection: connection.execute(
        "UPDATE idempotency SET shard = NULL, ids = ? WHERE name = ? AND ids = ?", (kept, name, ids)
    )

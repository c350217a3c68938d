"""DNS as the rest of the house sees it: four questions, answers cached, failures as `ResolveError`.

Asked by `net.mx` on the way out, by the SMTP server for peers' names and by
policy through `kumo.dns`. The questions go out through twisted.names.

Public: the protocol `Resolver`, `MxRecord`, `CachingResolver`, `StaticResolver`
(the double for tests and for `kumo.dns.configure_test_resolver`), `ascii_name`,
`system_client`.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import idna
from attrs import frozen
from twisted.internet import defer
from twisted.names import client, dns, error
from twisted.python.failure import Failure

from kumotwist.core.errors import ResolveError
from kumotwist.net.clock import Clock
from kumotwist.net.ending import why_ended
from kumotwist.net.zone import Zone, parse_hosts

if TYPE_CHECKING:
    from kumotwist.config.egress import IpLookupStrategy

#: Seconds for one question, questions at once, seconds that a failure is kept: KumoMTA's.
LOOKUP_TIMEOUT: Final = 5.0
MAX_CONCURRENT: Final = 128
NEGATIVE_TTL: Final = 300.0
#: Answers kept; about 40 MB when full. Ours.
MAX_CACHED: Final = 65536
#: Bounds on a record's own time to live: ours, a second against answers of 0, a day (RFC 8767 s4 advises days).
MIN_TTL: Final = 1.0
MAX_TTL: Final = 86400.0
#: RFC 1035 s2.3.4.
_MAX_NAME: Final = 253
_MAX_LABEL: Final = 63
_MAX_ALIASES: Final = 8
#: Of RFC 1035 s4.1.1, what is wrong with an answer; the classes of twisted.names have no words.
_PROBLEMS: Final = (
    (defer.TimeoutError, "timed out"),
    (error.DNSServerError, "server failure"),
    (error.DNSQueryRefusedError, "the server refuses to answer"),
    (error.DNSFormatError, "the server cannot read the question"),
    (error.DNSNotImplementedError, "the server does not know such questions"),
    (error.DNSUnknownError, "the server answers with an unknown error"),
    (error.ResolverError, "no server can be asked"),
    (error.DomainError, "no answer that could be used"),
    (error.AuthoritativeDomainError, "no answer that could be used"),
)


@frozen
class MxRecord:
    """One mail exchanger; `host` is lower-case without trailing dot, "" for a null MX (RFC 7505)."""

    preference: int
    host: str


class Resolver(Protocol):
    """Answers questions about names. All raise ResolveError, permanent when the name does not exist."""

    async def mx(self, domain: str) -> Sequence[MxRecord]:
        """The MX records in no order; empty when the domain has none."""
        ...

    async def addresses(self, host: str, strategy: IpLookupStrategy = "Ipv4AndIpv6") -> Sequence[str]:
        """The IP addresses; empty when the host exists but has none of the families asked for."""
        ...

    async def txt(self, name: str) -> Sequence[str]:
        """The TXT records, the strings of each joined."""
        ...

    async def ptr(self, address: str) -> Sequence[str]:
        """The names of an IP address, without trailing dots."""
        ...


def ascii_name(name: str) -> str:
    """The lower-case A-label form without trailing dot (RFC 5890 s2.3.2.1). Raises ResolveError."""
    bare = name.rstrip(".")
    if not bare.isascii():
        try:
            bare = idna.encode(bare, uts46=True).decode("ascii")
        except idna.IDNAError as problem:
            raise ResolveError(f"{name}: not a domain name: {problem}", permanent=True) from None
    if not bare or len(bare) > _MAX_NAME or any(not 0 < len(label) <= _MAX_LABEL for label in bare.split(".")):
        raise ResolveError(f"{name}: not a domain name", permanent=True)
    return bare.lower()


def families(strategy: IpLookupStrategy) -> tuple[str, ...]:
    """The record types to ask for, in order."""
    if strategy == "Ipv4Only":
        return ("A",)
    return ("AAAA",) if strategy == "Ipv6Only" else ("A", "AAAA")


class _Questions:
    """The four questions in terms of one: the records of a type as texts."""

    async def _records(self, kind: str, name: str) -> Sequence[str]:
        raise NotImplementedError

    async def mx(self, domain: str) -> Sequence[MxRecord]:
        """See `Resolver`."""
        return [_mx_record(text) for text in await self._records("MX", ascii_name(domain))]

    async def addresses(self, host: str, strategy: IpLookupStrategy = "Ipv4AndIpv6") -> Sequence[str]:
        """See `Resolver`."""
        name = ascii_name(host)
        found: list[str] = []
        failure: ResolveError | None = None
        for kind in families(strategy):
            try:
                found.extend(await self._records(kind, name))
            except ResolveError as problem:
                failure = failure or problem
        if failure is not None and not found:
            raise failure
        return found

    async def txt(self, name: str) -> Sequence[str]:
        """See `Resolver`."""
        return await self._records("TXT", ascii_name(name))

    async def ptr(self, address: str) -> Sequence[str]:
        """See `Resolver`."""
        try:
            name = ipaddress.ip_address(address).reverse_pointer
        except ValueError:
            raise ResolveError(f"{address}: not an IP address", permanent=True) from None
        return [target.rstrip(".") for target in await self._records("PTR", name)]


def _mx_record(text: str) -> MxRecord:
    preference, _, host = text.partition(" ")
    return MxRecord(int(preference), host.strip().rstrip(".").lower())


class StaticResolver(_Questions):
    """Answers from a zone it is given; published for tests, ours and policies'.

    `zone` maps names to types to record texts, as `net.zone.parse_zone` makes
    it: `{"a.example": {"MX": ["10 mx.a.example."], "A": ["192.0.2.1"]}}`.
    Names in `failing` fail for the time being; all others do not exist.
    """

    def __init__(self, zone: Zone, failing: Collection[str] = ()) -> None:
        self._zone = zone
        self._failing = frozenset(failing)

    async def _records(self, kind: str, name: str) -> Sequence[str]:
        for _ in range(_MAX_ALIASES):
            if name in self._failing:
                raise ResolveError(f"{kind} {name}: server failure")
            records = self._zone.get(name)
            if records is None:
                raise ResolveError(f"{kind} {name}: no such domain", permanent=True)
            if "CNAME" not in records:
                return records.get(kind, ())
            name = records["CNAME"][0].rstrip(".").lower()
        raise ResolveError(f"{kind} {name}: too many aliases")


class Client(Protocol):
    """What is used of twisted.names: `client.Resolver` and its like."""

    def query(self, query: dns.Query, timeout: Sequence[float] | None = None) -> defer.Deferred[object]:
        """Answers, authority and additional records."""
        ...


def system_client(
    reactor: object, nameservers: Sequence[tuple[str, int]] = (), resolv_conf: str = "/etc/resolv.conf"
) -> Client:
    """A twisted.names client for the given servers or, when there are none, for those of resolv.conf.

    The file is read once: a client that watches it would leave a timer behind.
    """
    servers = list(nameservers) or _configured_servers(resolv_conf) or [("127.0.0.1", dns.PORT)]
    made: Client = client.Resolver(servers=servers, reactor=reactor)
    return made


def _configured_servers(path: str) -> list[tuple[str, int]]:
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    words = (line.split() for line in lines)
    return [(word[1], dns.PORT) for word in words if len(word) > 1 and word[0] == "nameserver"]


@frozen
class _Answer:
    """A cached answer, or why there is none."""

    records: tuple[str, ...]
    expires: float
    problem: str | None = None
    permanent: bool = False

    def unwrap(self) -> tuple[str, ...]:
        if self.problem is not None:
            raise ResolveError(self.problem, self.permanent)
        return self.records


_Key = tuple[str, str]
_TYPE_NUMBERS: Final = {"A": dns.A, "AAAA": dns.AAAA, "MX": dns.MX, "PTR": dns.PTR, "TXT": dns.TXT}
#: Seconds before each repetition of a question; together LOOKUP_TIMEOUT.
_RETRIES: Final = (1.0, 1.5, 2.5)


class CachingResolver(_Questions):
    """Asks twisted.names; keeps answers for their time to live and failures for `NEGATIVE_TTL`.

    Equal questions at one time are asked once; a caller that is cancelled
    leaves the others their answer. Names in the hosts file need no question.
    """

    def __init__(self, names: Client, clock: Clock, hosts_file: str | None = "/etc/hosts") -> None:
        self._names = names
        self._clock = clock
        self._hosts = _HostsFile(hosts_file)
        self._gate = defer.DeferredSemaphore(MAX_CONCURRENT)
        self._cache: dict[_Key, _Answer] = {}
        self._flights: dict[_Key, list[defer.Deferred[_Answer]]] = {}

    async def _records(self, kind: str, name: str) -> Sequence[str]:
        key = (kind, name)
        answer = self._cache.get(key)
        if answer is not None and answer.expires > self._clock.seconds():
            return answer.unwrap()
        if kind in ("A", "AAAA") and (known := self._hosts.addresses(kind, name)) is not None:
            return known
        waiter: defer.Deferred[_Answer] = defer.Deferred()
        flight = self._flights.get(key)
        if flight is not None:
            flight.append(waiter)
        else:
            self._flights[key] = [waiter]
            self._gate.run(self._ask, key).addBoth(self._land, key)
        return (await waiter).unwrap()

    def _ask(self, key: _Key) -> defer.Deferred[object]:
        kind, name = key
        asked = self._names.query(dns.Query(name.encode("ascii"), _TYPE_NUMBERS[kind], dns.IN), timeout=_RETRIES)
        return asked.addTimeout(LOOKUP_TIMEOUT, self._clock)  # type: ignore[arg-type]  # a Clock is IReactorTime's shape

    def _land(self, result: object, key: _Key) -> None:
        answer = self._judge(result, key)
        if len(self._cache) >= MAX_CACHED:
            del self._cache[next(iter(self._cache))]
        self._cache.pop(key, None)
        self._cache[key] = answer
        for waiter in self._flights.pop(key):
            if not waiter.called:
                waiter.callback(answer)

    def _judge(self, result: object, key: _Key) -> _Answer:
        now, (kind, name) = self._clock.seconds(), key
        if isinstance(result, Failure):
            permanent = result.check(error.DNSNameError) is not None
            problem = "no such domain" if permanent else _in_words(result)
            return _Answer((), now + NEGATIVE_TTL, f"{kind} {name}: {problem}", permanent)
        found = [header for header in _answers(result) if header.type == _TYPE_NUMBERS[kind]]
        if not found:
            return _Answer((), now + NEGATIVE_TTL)
        ttl = min(max(min(header.ttl for header in found), MIN_TTL), MAX_TTL)
        return _Answer(tuple(_TEXTS[kind](header.payload) for header in found), now + ttl)


def _answers(result: object) -> Iterable[dns.RRHeader]:
    return result[0] if isinstance(result, tuple) else ()


def _in_words(failure: Failure) -> str:
    for kind, words in _PROBLEMS:
        if failure.check(kind) is not None:
            return words
    return why_ended(failure)


def _txt_text(record: dns.Record_TXT) -> str:
    return b"".join(record.data).decode("utf-8", "replace")


def _name_text(record: dns.SimpleRecord) -> str:
    return str(record.name)


def _mx_text(record: dns.Record_MX) -> str:
    return f"{record.preference} {record.name}"


def _address_text(record: dns.Record_A | dns.Record_AAAA) -> str:
    return str(ipaddress.ip_address(record.address or b""))


_TEXTS: Final[Mapping[str, Callable[..., str]]] = {
    "A": _address_text,
    "AAAA": _address_text,
    "MX": _mx_text,
    "PTR": _name_text,
    "TXT": _txt_text,
}


class _HostsFile:
    """A hosts(5) file, read again when it has changed."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._stamp = -1
        self._hosts: Mapping[str, Sequence[str]] = {}

    def addresses(self, kind: str, name: str) -> Sequence[str] | None:
        """Those of the family of `kind`; None when the file does not know the name."""
        if self._path is None:
            return None
        try:
            stamp = os.stat(self._path).st_mtime_ns
            if stamp != self._stamp:
                self._hosts = parse_hosts(Path(self._path).read_text(encoding="utf-8", errors="replace"))
                self._stamp = stamp
        except OSError:
            return None
        known = self._hosts.get(name)
        if known is None:
            return None
        return [address for address in known if (":" in address) == (kind == "AAAA")]

"""The two addresses of Amazon SNS that are ever asked: a signing certificate, and a subscription's confirmation.

Both have been checked to be SNS's own (`proto.receipts.sns`); still no redirect
is followed and no private address connected to.

Public: `SnsGate`, `fetcher`. What can go wrong: `Unproven`; `HttpError` when SNS cannot
be reached, which is no judgement: it is to try again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from kumotwist.core.errors import Overload
from kumotwist.net.http import HttpError, HttpRequest, HttpSettings, HttpTransports
from kumotwist.proto.receipts.callback import Unproven
from kumotwist.proto.receipts.sns import CONFIRMATION, NOTIFICATION, Envelope, check_signature

log: Final = Logger()

#: Certificates kept. Ours: a region has one or two at a time.
MAX_CERTIFICATES: Final = 16
#: Certificates that are fetched within so many seconds: anybody who knows a topic can name ever new ones.
MAX_FETCHES: Final = 10
FETCHES_WITHIN: Final = 60.0
#: Octets of a certificate or of the answer to a confirmation; both have about 2 KiB.
MAX_REPLY: Final = 64 * 1024
#: Seconds. SNS waits 15 s for us.
TIMEOUT: Final = 10.0

#: Fetches a URL: the body of a 200. Raises HttpError.
Fetch = Callable[[str], Awaitable[bytes]]


@define(eq=False)
class SnsGate:
    """Believes messages of SNS, and confirms subscriptions."""

    fetch: Fetch
    _fetched: deque[float] = field(factory=lambda: deque(maxlen=MAX_FETCHES), init=False)
    _certificates: OrderedDict[str, bytes] = field(factory=OrderedDict, init=False)

    async def admit(self, envelope: Envelope, now: float, max_age: float) -> bool:
        """Whether a believed message is a notification; a subscription is confirmed.

        Raises Unproven, HttpError, Overload.
        """
        check_signature(envelope, await self._certificate(envelope.certificate_url, now), now, max_age)
        if envelope.type == CONFIRMATION:
            await self.fetch(envelope.subscribe_url)
            log.info("the subscription of {topic} is confirmed", topic=envelope.topic)
        elif envelope.type != NOTIFICATION:
            log.warn("the subscription of {topic} has been ended", topic=envelope.topic)
        return envelope.type == NOTIFICATION

    async def _certificate(self, url: str, now: float) -> bytes:
        kept = self._certificates.get(url)
        if kept is None:
            if len(self._fetched) == MAX_FETCHES and now - self._fetched[0] < FETCHES_WITHIN:
                raise Overload("too many certificates of SNS are asked for")
            self._fetched.append(now)
            kept = await self.fetch(url)
            if b"-----BEGIN CERTIFICATE-----" not in kept:
                raise Unproven("what stands at SigningCertURL is no certificate")
            self._certificates[url] = kept
            if len(self._certificates) > MAX_CERTIFICATES:
                self._certificates.popitem(last=False)
        return kept


def fetcher(transports: HttpTransports) -> Fetch:
    """A `Fetch` over HTTPS that goes nowhere else."""
    settings = HttpSettings(timeout=TIMEOUT, max_response=MAX_REPLY, allow_private=False, max_redirects=0)

    async def fetch(url: str) -> bytes:
        reply = await transports.client(settings).send(HttpRequest(b"GET", url))
        if reply.code != 200:
            raise HttpError(f"{url.partition('?')[0]} answered {reply.code}")
        return reply.body

    return fetch

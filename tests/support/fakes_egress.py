"""What the tests of channels share: services without a house around them, messages, requests."""

from __future__ import annotations

import time

from kumotwist.config.egress import PathConfig, SourceConfig
from kumotwist.config.keysource import EventKey, FileKey, LiteralKey
from kumotwist.config.option import Cidrs, Duration
from kumotwist.core import queuename
from kumotwist.core.address import parse_address
from kumotwist.core.errors import SecretUnavailable
from kumotwist.core.ids import IdGenerator
from kumotwist.core.interfaces import OpenRequest
from kumotwist.core.message import Message
from kumotwist.egress.registry import Channels
from kumotwist.net.dns import StaticResolver
from kumotwist.net.http import HttpTransports
from kumotwist.net.tls_client import ClientTls
from kumotwist.net.zone import parse_zone

BODY = b"Subject: hello\r\n\r\nbody\r\n"
NOBODY = Cidrs()
#: Ids as the daemon makes them: a random one may have been made in any century, and messages expire by it.
new_id = IdGenerator(time.time)


class FakeKeys:
    """Keeps the contract of KeyLoader for literal keys; every other source has nothing.

    `current` has keys by their literal value that were rotated: it is what the store says now.
    """

    def __init__(self):
        self.current = {}
        self.cached = {}

    async def refresh(self, source):
        self.cached.clear()
        return await self.load(source)

    async def load(self, source):
        if isinstance(source, LiteralKey):
            now = self.current.get(source.key_data, source.key_data)
            return self.cached.setdefault(source.key_data, now)
        name = source.path if isinstance(source, FileKey) else getattr(source, "event_name", "?")
        raise SecretUnavailable(f"{name}: no such secret", permanent=isinstance(source, EventKey))


class FakeLuaConnection:
    """A policy's connection object: `results` are what `send` returns or raises, in turn."""

    def __init__(self, results):
        self.results = list(results)
        self.sent = []
        self.closed = 0

    async def send(self, messages, batched):
        self.sent.append((list(messages), batched))
        result = self.results.pop(0) if self.results else "sent"
        if isinstance(result, Exception):
            raise result
        return await result if hasattr(result, "addCallback") else result

    async def close(self):
        self.closed += 1


class FakeLua:
    """Keeps the contract of LuaConnector."""

    def __init__(self, *results, failure=None):
        self.connection = FakeLuaConnection(results)
        self.failure = failure
        self.opened = []

    async def connect(self, constructor, name):
        self.opened.append((constructor, name.text))
        if self.failure is not None:
            raise self.failure
        return self.connection


def make_channels(reactor, zone="", lua=None, roots=(), clock=None, keys=None, http=None, receipts=None, sms=None):
    return Channels(
        StaticResolver(parse_zone(zone)),
        keys or FakeKeys(),
        lua or FakeLua(),
        clock or reactor,
        reactor,
        "me.test",
        http or HttpTransports(reactor),
        ClientTls(roots),
        receipts,
        sms,
    )


def make_message(*recipients, sender="from@src.test", body=BODY, meta=None):
    paths = tuple(parse_address(one) for one in recipients or ("to@dest.test",))
    return Message(new_id(), parse_address(sender), paths, dict(meta or {}), body)


def make_request(domain="dest.test", source=None, site=None, **path):
    options = {"prohibited_hosts": NOBODY, "enable_tls": "Disabled", **path}
    for name, value in options.items():
        if name.endswith("_timeout"):
            options[name] = Duration(value)
    return OpenRequest(
        queue_name=queuename.parse(domain),
        site=site or domain,
        source=source or SourceConfig(name="unspecified"),
        path=PathConfig(**options),
    )

"""What a test file sees: `kumo.test`, and the world that each test function is given.

Public: `TestLibrary`, `TestWorld`, `Case`. What a test asks for wrongly, and what it
expected in vain, is raised as Failed or ValueError: Lua adds file and line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from attrs import define, field, frozen

from kumotwist.core.errors import KumotwistError
from kumotwist.core.ids import to_hex
from kumotwist.core.schedule import parse_rfc3339
from kumotwist.lua.binding import (
    Function,
    LuaFunction,
    callback,
    duration,
    facade,
    integer,
    mapping,
    octets,
    text,
)
from kumotwist.net.dns import StaticResolver
from kumotwist.net.zone import parse_zone
from kumotwist.trial.policytest.channels import Attempt
from kumotwist.trial.policytest.faults import Failed
from kumotwist.trial.policytest.outside import shown
from kumotwist.trial.policytest.world import World

_METHODS: Final = (
    *("smtp", "http", "send", "advance", "now"),
    *("answer", "dns", "secret", "web"),
    *("attempts", "delivered", "messages", "queued", "records", "requests", "routes"),
    *("equal", "contains", "is_true", "fail"),
)
_SMTP_KEYS: Final = ("from", "to", "data", "headers", "body", "peer", "helo", "listener")
#: Characters of a value in a report.
_MAX_SHOWN: Final = 1000


@frozen
class Case:
    """A test: its name and its function."""

    name: str
    run: LuaFunction


@define(eq=False)
class TestLibrary:
    """`kumo.test`: what a test file says of itself."""

    __test__ = False  # pytest

    namespace = "test"
    cases: list[Case] = field(factory=list)
    policy: str | None = None
    env: dict[str, str] = field(factory=dict)
    start: float | None = None

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"policy": self.declare, "case": self.case}

    def declare(self, path: object, options: object = None) -> None:
        """The policy under test, a path seen from this file; `env` and `now` say what it finds when it is loaded."""
        given = mapping(options, "options") if options is not None else {}
        unknown = set(given) - {"env", "now"}
        if unknown:
            raise ValueError(f"kumo.test.policy has the options env and now, not {sorted(unknown)[0]!r}")
        if self.policy is not None:
            raise ValueError("a test file has one policy")
        self.policy = text(path, "path")
        env = mapping(given.get("env") or {}, "env")
        self.env = {name: text(value, f"env.{name}") for name, value in env.items()}
        if "now" in given:
            self.start = parse_rfc3339(text(given["now"], "now"))

    def case(self, name: object, function: object) -> None:
        """A test; its function is called with a world of its own."""
        called = text(name, "name")
        if any(one.name == called for one in self.cases):
            raise ValueError(f"there are two cases named {called!r}")
        self.cases.append(Case(called, callback(function, "function")))


@facade("test world", methods=_METHODS)
@define(eq=False)
class TestWorld:
    """What a test function is given. `leave` waits until Lua is left, so that what follows may call into it."""

    __test__ = False  # pytest

    world: World
    leave: Callable[[], Awaitable[None]]

    # -- messages in ------------------------------------------------------------------------------

    async def smtp(self, params: object) -> Mapping[str, object]:
        """Hand over a message by SMTP; what the server said."""
        given = mapping(params, "params")
        _only(given, _SMTP_KEYS, "smtp")
        recipients = _texts(given.get("to"), "to")
        sender = text(given.get("from", ""), "from")
        await self.leave()
        done = self.world.smtp(
            sender,
            recipients,
            _mail(given, sender, recipients),
            text(given.get("peer", "127.0.0.1"), "peer"),
            text(given.get("helo", "client.test"), "helo"),
            integer(given.get("listener", 1), "listener"),
        )
        refused = [{"to": one.to, "code": one.code, "text": one.text} for one in done.refused]
        return {"code": done.code, "text": done.text, "stage": done.stage, "refused": refused, "ids": done.ids}

    async def http(self, request: object, peer: object = "127.0.0.1") -> object:
        """Inject as `POST /api/inject/v1` does; its answer."""
        body, client = msgspec.json.encode(mapping(request, "request")), text(peer, "peer")
        await self.leave()
        return msgspec.to_builtins(self._asked(lambda: self.world.http(body, client)))

    async def send(self, request: object, peer: object = "127.0.0.1") -> object:
        """Send as `POST /api/send/v1` does; its answer."""
        body, client = msgspec.json.encode(mapping(request, "request")), text(peer, "peer")
        await self.leave()
        return msgspec.to_builtins(self._asked(lambda: self.world.send(body, client)))

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except KumotwistError as error:
            raise Failed(str(error)) from None

    # -- time -------------------------------------------------------------------------------------

    async def advance(self, span: object) -> None:
        """Let time pass: seconds, or a text like '5 minutes'."""
        seconds = duration(span, "span")
        await self.leave()
        self.world.clock.pass_time(seconds)

    def now(self) -> float:
        """Unix seconds."""
        return self.world.clock.seconds()

    # -- the outside world ------------------------------------------------------------------------

    def answer(self, whom: object, answers: object) -> None:
        """How a protocol, domain, scheduled or ready queue answers from now on."""
        self.world.answers.give(text(whom, "whom"), answers)

    def dns(self, zones: object) -> None:
        """Answer from these zone texts, and nothing else."""
        texts = _texts(zones, "zones")
        self.world.use_resolver(StaticResolver(parse_zone(*texts)))

    def secret(self, name: object, value: object) -> None:
        """A secret by `mount/path`, `mount/path#key`, file or environment variable."""
        self.world.secrets.given[text(name, "name")] = octets(value, "value")

    def web(self, url: object, answers: object) -> None:
        """How URLs that begin so answer the policy's kumo.http from now on."""
        self.world.web.give(text(url, "url"), answers)

    # -- what came of it --------------------------------------------------------------------------

    def attempts(self) -> list[object]:
        """Every message that was handed to a channel, in order."""
        return [_attempt(one) for one in self.world.channels.attempts]

    def delivered(self) -> list[object]:
        """Those that were taken."""
        return [_attempt(one) for one in self.world.channels.attempts if one.outcome.verdict.value == "delivered"]

    def messages(self) -> list[object]:
        """The messages that came in, each as it was when it was queued."""
        return list(self.world.messages)

    def queued(self) -> int:
        """How many messages are still on their way."""
        return self.world.queued()

    def records(self, kind: object = None) -> list[object]:
        """The log records, all or those of a type such as 'Delivery', with all metadata."""
        wanted = None if kind is None else text(kind, "type")
        return [one for one in self.world.records if wanted in (None, one["type"])]

    def requests(self) -> list[object]:
        """The HTTP requests of the policy."""
        return [shown(one) for one in self.world.web.requests]

    def routes(self) -> Mapping[str, object]:
        """How many messages each route of the route tables has delivered, by its name."""
        counts: dict[str, object] = {}
        for one in self.world.records:
            name = one.get("route")
            if one["type"] == "Delivery" and isinstance(name, str):
                found = counts.get(name, 0)
                counts[name] = (found if isinstance(found, int) else 0) + 1
        return counts

    # -- expectations -----------------------------------------------------------------------------

    def equal(self, got: object, expected: object, what: object = None) -> None:
        """Fail unless both are the same, tables entry by entry."""
        if not _same(got, expected):
            raise Failed(f"{_of(what)}expected {_shown(expected)}, got {_shown(got)}")

    def contains(self, got: object, part: object, what: object = None) -> None:
        """Fail unless the text has the part in it, or the list the entry."""
        if isinstance(got, list):
            is_in = any(_same(one, part) for one in got)
        else:
            is_in = octets(part, "part") in octets("" if got is None else got, "got")
        if not is_in:
            raise Failed(f"{_of(what)}expected {_shown(part)} in {_shown(got)}")

    def is_true(self, got: object, what: object = None) -> None:
        """Fail for nil and false."""
        if got is None or got is False:
            raise Failed(f"{_of(what)}expected a true value, got {_shown(got)}")

    def fail(self, why: object) -> None:
        """Fail."""
        raise Failed(text(why, "why"))


def _attempt(one: Attempt) -> object:
    return {
        "channel": one.channel,
        "site": one.site,
        "source": one.source,
        "queue": one.queue,
        "code": one.outcome.response.code,
        "text": one.outcome.response.content,
        "id": to_hex(one.message.id),
        "to": [address.email for address in one.message.recipients],
        "meta": dict(one.message.meta),
        "message": one.message,
    }


def _mail(given: Mapping[str, object], sender: str, recipients: Sequence[str]) -> bytes:
    """The text of a message: `data` as it is, or headers and body put together, line ends as mail has them."""
    if given.get("data") is not None:
        return _with_crlf(octets(given["data"], "data"))
    headers = {"From": sender, "To": ", ".join(recipients), "Subject": "test"}
    headers |= {name: text(value, name) for name, value in mapping(given.get("headers") or {}, "headers").items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return head.encode() + b"\r\n" + _with_crlf(octets(given.get("body", "test\r\n"), "body"))


def _with_crlf(data: bytes) -> bytes:
    lines = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return lines if lines.endswith(b"\r\n") else lines + b"\r\n"


def _texts(value: object, what: str) -> list[str]:
    """One text or a list of them, at least one."""
    found = [text(one, what) for one in (value if isinstance(value, list) else [value])]
    if not found:
        raise ValueError(f"{what} must have an entry")
    return found


def _only(given: Mapping[str, object], known: Sequence[str], what: str) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"{what} takes {', '.join(known)}, not {unknown[0]!r}")


def _same(one: object, other: object) -> bool:
    if isinstance(one, (list, dict)) and isinstance(other, (list, dict)) and not one and not other:
        return True  # Lua has one empty table
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    is_alike = type(one) is type(other) or (type(one) in _NUMBERS and type(other) in _NUMBERS)
    return is_alike and one == other


_NUMBERS: Final = (int, float)


def _of(what: object) -> str:
    return "" if what is None else f"{text(what, 'what')}: "


def _shown(value: object) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        found = value.decode(errors="replace") if isinstance(value, bytes) else msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        found = str(value)
    return found if len(found) <= _MAX_SHOWN else f"{found[:_MAX_SHOWN]}..."

"""The world that each test function is given: `t`.

Public: `TestWorld`. What a test asks for wrongly, and what it expected in
vain, is raised as Failed or ValueError: Lua adds file and line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from attrs import define

from kumotwist.core.errors import KumotwistError
from kumotwist.core.ids import to_hex
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.outcome import Verdict
from kumotwist.lua.binding import Placed, duration, facade, integer, mapping, text
from kumotwist.net.router import HttpError
from kumotwist.queue.routes.tallies import ALL
from kumotwist.trial.policytest.asked import caller, client, letter
from kumotwist.trial.policytest.channels import Attempt
from kumotwist.trial.policytest.expect import has_part, is_in, is_same, named, shown
from kumotwist.trial.policytest.faults import Failed
from kumotwist.trial.policytest.ledger import about, event_of
from kumotwist.trial.policytest.recorded import check_fields, check_type
from kumotwist.trial.policytest.web import shown as shown_request
from kumotwist.trial.policytest.world import World

_METHODS: Final = (
    *("smtp", "http", "send", "receipt", "advance", "now"),
    *("answer", "down", "slow", "dns", "secret", "web"),
    *("attempts", "delivered", "messages", "queued", "records", "record", "requests", "routes", "hops", "table"),
    *("equal", "contains", "is_true", "fail"),
)
#: Records of an attempt over one route.
_ATTEMPTS: Final = ("Delivery", "TransientFailure", "Bounce")
#: Records that a failed `t:record` shows.
_MAX_RECORDS: Final = 10


@facade("test world", methods=_METHODS)
@define(eq=False)
class TestWorld:
    """What a test function is given. `leave` waits until Lua is left, so that what follows may call into it."""

    __test__ = False  # pytest

    world: World
    leave: Callable[[], Awaitable[None]]
    _receipts: int = 0

    # -- messages in ------------------------------------------------------------------------------

    async def smtp(self, params: object) -> Mapping[str, object]:
        """Hand over a message by SMTP; what the server said."""
        given = mapping(params, "params")
        message, who, listener = letter(given), client(given), integer(given.get("listener", 1), "listener")
        for recipient in message.recipients:
            self.world.roster.meet_recipient(recipient)
        await self.leave()
        done = self.world.ways.smtp(message, who, listener)
        self.world.unscripted.check()
        refused = [{"to": one.to, "code": one.code, "text": one.text} for one in done.refused]
        return {"code": done.code, "text": done.text, "stage": done.stage, "refused": refused, "ids": done.ids}

    async def http(self, request: object, who: object = None) -> object:
        """Inject as `POST /api/inject/v1` does; its answer."""
        body, calling = msgspec.json.encode(mapping(request, "request")), caller(who)
        await self.leave()
        return self._asked(lambda: self.world.ways.http(body, calling))

    async def send(self, request: object, who: object = None) -> object:
        """Send as `POST /api/send/v1` does; its answer."""
        body, calling = msgspec.json.encode(mapping(request, "request")), caller(who)
        await self.leave()
        return self._asked(lambda: self.world.ways.send(body, calling))

    def _asked(self, ask: Callable[[], Any]) -> Mapping[str, object]:
        """The answer with its `code`; a request that makes no sense is the test's fault, and fails it."""
        try:
            answer = msgspec.to_builtins(ask())
        except HttpError as error:
            answer = {"code": error.code, "error": error.text}
        except KumotwistError as error:
            raise Failed(str(error)) from None
        self.world.unscripted.check()
        return {"code": 200, **answer}

    async def receipt(self, whom: object, said: object) -> None:
        """Have the provider report what became of a message that it took."""
        world = self.world
        self._receipts += 1
        delivery = about(world.channels.attempts, whom)
        event = event_of(delivery, said, self._receipts, world.clock.seconds())
        await self.leave()
        world.receive(event)
        world.unscripted.check()

    # -- time -------------------------------------------------------------------------------------

    async def advance(self, span: object) -> None:
        """Let time pass: seconds, or a text like '5 minutes'."""
        seconds = duration(span, "span")
        await self.leave()
        self.world.clock.pass_time(seconds)
        self.world.unscripted.check()

    def now(self) -> float:
        """Unix seconds."""
        return self.world.clock.seconds()

    # -- the outside world ------------------------------------------------------------------------

    def answer(self, whom: object, answers: object) -> Placed:
        """How a route, protocol, domain, recipient, scheduled or ready queue answers from now on."""
        self.world.answers.give(text(whom, "whom"), answers)
        return self._wanted("answer", whom)

    def down(self, whom: object, span: object) -> Placed:
        """Have it unreachable for so long."""
        self.world.answers.take_down(text(whom, "whom"), self.world.clock.seconds() + duration(span, "span"))
        return self._wanted("down", whom)

    def slow(self, whom: object, span: object) -> Placed:
        """Have its answers take so long from now on."""
        self.world.answers.slow_down(text(whom, "whom"), duration(span, "span"))
        return self._wanted("slow", whom)

    def _wanted(self, call: str, whom: object) -> Placed:
        return Placed(lambda place: self.world.roster.want(f"t:{call}", text(whom, "whom"), place))

    def dns(self, names: object) -> None:
        """Answer from these names, and nothing else."""
        self.world.use_names(names)

    def secret(self, name: object, value: object) -> None:
        """A secret by `mount/path`, `mount/path#key`, file or environment variable; or that it cannot be had."""
        self.world.keys.give(text(name, "name"), value)

    def web(self, whom: object, answers: object) -> None:
        """How URLs that begin so, with a method or without, answer the policy's kumo.http from now on."""
        self.world.web.give(text(whom, "URL"), answers)

    # -- what came of it --------------------------------------------------------------------------

    def attempts(self) -> list[object]:
        """Every message that was handed to a channel, in order."""
        return [_attempt(one) for one in self.world.channels.attempts]

    def delivered(self) -> list[object]:
        """Those that were taken."""
        return [_attempt(one) for one in self.world.channels.attempts if one.outcome.verdict is Verdict.DELIVERED]

    def messages(self) -> list[object]:
        """The messages that came in, each as it was when it was queued."""
        return list(self.world.messages)

    def queued(self) -> int:
        """How many messages are still on their way."""
        return self.world.queued()

    def records(self, kind: object = None, fields: object = None) -> list[object]:
        """The log records, all or those of a type such as 'Delivery' and with such fields, with all metadata."""
        return list(self._records(kind, fields))

    def record(self, kind: object, fields: object = None) -> object:
        """The first record of the type with these fields; fail unless there is one."""
        found = self._records(kind, fields)
        if not found:
            wanted = "" if fields is None else f" with {shown(fields)}"
            of_kind = self._records(kind, None)[:_MAX_RECORDS]
            others = "".join(f"\n  {shown(one)}" for one in of_kind) or " none of that type"
            raise Failed(f"expected a {text(kind, 'type')} record{wanted}, got{others}")
        return found[0]

    def _records(self, kind: object, fields: object) -> list[JsonObject]:
        wanted = None if kind is None else text(kind, "type")
        part = {} if fields is None else mapping(fields, "fields")
        if wanted is not None:
            check_type(wanted)
        check_fields(part)
        return [one for one in self.world.records if wanted in (None, one["type"]) and has_part(one, part)]

    def requests(self, whom: object = None) -> list[object]:
        """The HTTP requests of the policy, all or those to a URL that begins so, with a method or without."""
        return [shown_request(one) for one in self.world.web.asked(None if whom is None else text(whom, "URL"))]

    def routes(self) -> Mapping[str, object]:
        """How many messages each route of the route tables has delivered, by its name."""
        counts: dict[str, object] = {}
        for one in self.world.records:
            name = one.get("route")
            if one["type"] == "Delivery" and isinstance(name, str):
                found = counts.get(name, 0)
                counts[name] = (found if isinstance(found, int) else 0) + 1
        return counts

    def hops(self, whom: object) -> list[object]:
        """The routes that the attempts at a message went by, in order; `whom` is an attempt, a message, or an id."""
        asked = to_hex(whom.id) if isinstance(whom, Message) else whom.get("id") if isinstance(whom, dict) else whom
        named_so = text(asked, "whom")
        if all(one["id"] != named_so for one in self.world.records):
            raise Failed(f"no message has the id {named_so!r}; whom is an attempt, a message, or its id")
        return [
            one["route"]
            for one in self.world.records
            if one["id"] == asked and one["type"] in _ATTEMPTS and one.get("route") is not None
        ]

    def table(self, name: object, class_: object = None) -> Mapping[str, object]:
        """How the routes of a table stand now, by name: `share`, `rest`, `health`, `samples`, `breaker`."""
        called = text(name, "name")
        table = self.world.table(called)
        if table is None:
            raise Failed(f"no message has gone by the route table {called!r}")
        class_name = ALL if class_ in (None, "all") else text(class_, "class")
        now = self.world.clock.seconds()
        rest = table.config.resting_shares
        found: dict[str, object] = {}
        for position, route in enumerate(table.config.routes):
            stands = table.shown(class_name, position, now)
            found[route.name] = {
                "share": stands.share,
                "rest": rest[position],
                "health": stands.health,
                "samples": stands.samples,
                "breaker": stands.breaker.value,
            }
        return found

    # -- expectations -----------------------------------------------------------------------------

    def equal(self, got: object, expected: object, what: object = None) -> None:
        """Fail unless both are the same, tables entry by entry."""
        if not is_same(got, expected):
            raise Failed(f"{named(what)}expected {shown(expected)}, got {shown(got)}")

    def contains(self, got: object, part: object, what: object = None) -> None:
        """Fail unless the text has the part in it, or the list the entry."""
        if not is_in(part, got):
            raise Failed(f"{named(what)}expected {shown(part)} in {shown(got)}")

    def is_true(self, got: object, what: object = None) -> None:
        """Fail for nil and false."""
        if got is None or got is False:
            raise Failed(f"{named(what)}expected a true value, got {shown(got)}")

    def fail(self, why: object) -> None:
        """Fail."""
        raise Failed(text(why, "why"))


def _attempt(one: Attempt) -> object:
    way = one.way
    return {
        "channel": one.channel,
        "site": one.site,
        "source": one.source,
        "queue": one.queue,
        "table": way.table if way is not None else None,
        "route": way.route if way is not None else None,
        "class": (way.name or "all") if way is not None else None,
        "code": one.outcome.response.code,
        "text": one.outcome.response.content,
        "time": one.at,
        "id": to_hex(one.message.id),
        "to": [address.email for address in one.message.recipients],
        "meta": dict(one.message.meta),
        "message": one.message,
    }

"""`kumo.test`: what a test file says of itself, its policy and its cases.

Public: `TestLibrary`, `Case`. What is wrong is raised as ValueError: Lua adds file and line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import define, field, frozen

from kumotwist.core.schedule import parse_rfc3339
from kumotwist.lua.binding import Function, LuaFunction, callback, mapping, text
from kumotwist.trial.policytest.asked import only
from kumotwist.trial.policytest.world import World

_OPTIONS: Final = ("env", "now", "secrets", "dns", "web")


@frozen
class Surroundings:
    """What a policy finds when it is loaded: the environment, the time, the world outside."""

    env: Mapping[str, str] = field(factory=dict, repr=False)
    start: float | None = None
    _secrets: Mapping[str, object] = field(factory=dict, repr=False)
    _web: Mapping[str, object] = field(factory=dict, repr=False)
    _dns: object = None

    @classmethod
    def read(cls, options: object, before: Surroundings, what: str) -> Surroundings:
        """From options in Lua, over what is known `before`. Raises ValueError."""
        given = mapping(options, "options") if options is not None else {}
        only(given, _OPTIONS, what)
        env = mapping(given.get("env") or {}, "env")
        return cls(
            {**before.env, **{name: text(value, f"env.{name}") for name, value in env.items()}},
            _moment(text(given["now"], "now")) if "now" in given else before.start,
            {**before._secrets, **mapping(given.get("secrets") or {}, "secrets")},
            {**before._web, **mapping(given.get("web") or {}, "web")},
            given.get("dns", before._dns),
        )

    def furnish(self, world: World) -> None:
        """Give `world` what is said of it. Raises ValueError."""
        for name, value in self._secrets.items():
            world.keys.give(name, value)
        for url, answers in self._web.items():
            world.web.give(url, answers)
        if self._dns is not None:
            world.names.give(self._dns)


def _moment(written: str) -> float:
    try:
        return parse_rfc3339(written)
    except ValueError:
        raise ValueError(f"now is a time like '2026-03-01T12:00:00Z', not {written!r}") from None


@frozen
class Case:
    """A test: its name, its function, and what its policy finds."""

    name: str
    run: LuaFunction
    surroundings: Surroundings


@define(eq=False)
class TestLibrary:
    """The functions of `kumo.test`."""

    __test__ = False  # pytest

    namespace = "test"
    cases: list[Case] = field(factory=list)
    policy: str | None = None
    _surroundings: Surroundings = field(factory=Surroundings)

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"policy": self.declare, "case": self.case}

    def declare(self, path: object, options: object = None) -> None:
        """The policy under test, a path seen from this file, and the world that it finds when it is loaded."""
        if self.policy is not None:
            raise ValueError("a test file has one policy")
        self._surroundings = Surroundings.read(options, self._surroundings, "kumo.test.policy")
        self.policy = text(path, "path")

    def case(self, name: object, *rest: object) -> None:
        """A test; its function, which stands last, is called with a world of its own. Options may stand before it."""
        called = text(name, "name")
        if any(one.name == called for one in self.cases):
            raise ValueError(f"there are two cases named {called!r}")
        if self.policy is None:
            raise ValueError("kumo.test.policy comes before the cases")
        if not 1 <= len(rest) <= 2:
            raise ValueError("a case has a name, options if need be, and a function")
        options = rest[0] if len(rest) == 2 else None
        surroundings = Surroundings.read(options, self._surroundings, "kumo.test.case")
        self.cases.append(Case(called, callback(rest[-1], "function"), surroundings))

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
class Case:
    """A test: its name and its function."""

    name: str
    run: LuaFunction


@define(eq=False)
class TestLibrary:
    """The functions of `kumo.test`."""

    __test__ = False  # pytest

    namespace = "test"
    cases: list[Case] = field(factory=list)
    policy: str | None = None
    env: dict[str, str] = field(factory=dict)
    start: float | None = None
    _given: dict[str, object] = field(factory=dict)

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"policy": self.declare, "case": self.case}

    def declare(self, path: object, options: object = None) -> None:
        """The policy under test, a path seen from this file, and the world that it finds when it is loaded."""
        given = mapping(options, "options") if options is not None else {}
        only(given, _OPTIONS, "kumo.test.policy")
        if self.policy is not None:
            raise ValueError("a test file has one policy")
        self.policy = text(path, "path")
        env = mapping(given.get("env") or {}, "env")
        self.env = {name: text(value, f"env.{name}") for name, value in env.items()}
        if "now" in given:
            self.start = parse_rfc3339(text(given["now"], "now"))
        self._given = given

    def case(self, name: object, function: object) -> None:
        """A test; its function is called with a world of its own."""
        called = text(name, "name")
        if any(one.name == called for one in self.cases):
            raise ValueError(f"there are two cases named {called!r}")
        self.cases.append(Case(called, callback(function, "function")))

    def furnish(self, world: World) -> None:
        """Give `world` what the options say of it. Raises ValueError."""
        for name, value in mapping(self._given.get("secrets") or {}, "secrets").items():
            world.keys.give(name, value)
        for url, answers in mapping(self._given.get("web") or {}, "web").items():
            world.web.give(url, answers)
        if "dns" in self._given:
            world.names.give(self._given["dns"])

"""The reference pages of functions and events, made from what a policy is really given.

Run as `python -m kumotwist.lua.describe DIRECTORY`; `make docs` does.
Public: `functions_page`, `events_page`. Nothing can go wrong but writing the files.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from twisted.internet.task import Clock

from kumotwist.lua import lib
from kumotwist.lua.address import ENVELOPE_ADDRESS
from kumotwist.lua.binding import Function, prefix_of
from kumotwist.lua.connection import CONNECTION
from kumotwist.lua.convert import HostClass
from kumotwist.lua.corelib import NO_EFFECT, CoreLibrary
from kumotwist.lua.events import EVENTS
from kumotwist.lua.lib.catalog import Services, standard_libraries
from kumotwist.lua.message import message_class
from kumotwist.net.tasks import Tasks

_FUNCTIONS: Final = """\
# Functions

What `require 'kumo'` gives a policy, with KumoMTA's names. Arguments in brackets may be left out. Functions and methods
marked *waits* hold up the handler that calls them and nothing else; they work in loops and inside `pcall`, but not
where Lua calls back through C (`table.sort`, `string.gsub` with a function). Options of functions that take a table are
on [the page of options](options.md).

`kumo.on(event, handler)` registers a handler; the [events](events.md) have a page of their own.

This page is made from the functions themselves; `make docs` writes it.
"""
_EVENTS: Final = """\
# Events

`kumo.on(name, handler)` registers a handler while the policy loads. An event has one handler, unless it says *several*:
then they run in the order in which they were registered until one returns something. Any other name may be registered
as well: constructors of `custom_lua`, key sources, tasks.

This page is made from the declarations in `kumotwist/lua/events.py`; `make docs` writes it.

| event | arguments and result | when |
|---|---|---|
"""
_META: Final = {
    "__index": "`object[key]`",
    "__newindex": "`object[key] = value`",
    "__len": "`#object`",
    "__pairs": "`pairs(object)`",
    "__tostring": "`tostring(object)`",
    "__eq": "`==`",
    "__lt": "`<`",
    "__le": "`<=`",
    "__add": "`+`",
    "__sub": "`-`",
}


def functions_page() -> str:
    """All functions by namespace, then all objects, as Markdown."""
    sections = [_FUNCTIONS]
    for namespace, functions in sorted(_namespaces().items()):
        prefix = prefix_of(namespace)
        rows = [_row(f"{prefix}{name}", functions[name]) for name in sorted(functions) if name not in NO_EFFECT]
        sections.append(_section(f"## `{prefix.rstrip('.')}`", "", rows))
    names = ", ".join(f"`kumo.{name}`" for name in sorted(NO_EFFECT))
    sections.append(f"Accepted without effect, since there is nothing to tune here: {names}.\n")
    sections.append("## Objects\n")
    for name, described in sorted(_objects().items()):
        sections.append(_section(f"### {name}", described[1], _members(name, described[0])))
    return "\n".join(sections)


def events_page() -> str:
    """All events as Markdown."""
    rows = (
        f"| `{event.name}` | `{event.signature}` | {event.doc}{' *Several.*' if event.is_multiple else ''} |"
        for event in sorted(EVENTS.values(), key=lambda event: event.name)
    )
    return _EVENTS + "\n".join(rows) + "\n"


def _namespaces() -> Mapping[str, Mapping[str, Function]]:
    """The functions as libraries that stand on nothing have them: they are looked at, never called."""
    nothing = cast("Any", None)
    services = Services(
        reactor=cast("Any", Clock()),
        tasks=Tasks(),
        keys=nothing,
        limits=nothing,
        resolver=nothing,
        ids=nothing,
        epoch=nothing,
        declare_acct_log=nothing,
    )
    found: dict[str, dict[str, Function]] = {}
    for library in (CoreLibrary(nothing, nothing, nothing), *standard_libraries(services)):
        found.setdefault(library.namespace, {}).update(library.functions())
    return found


def _objects() -> Mapping[str, tuple[HostClass, str]]:
    """Every object that a policy can meet, with its description."""
    found = {
        "message": (message_class(cast("Any", None), lambda: 0.0), "A message, in the events about it."),
        "conn_meta": (CONNECTION, "What is known about a client's connection."),
        "address": (ENVELOPE_ADDRESS, "An envelope address."),
    }
    modules = [importlib.import_module(f"{lib.__name__}.{info.name}") for info in pkgutil.iter_modules(lib.__path__)]
    modules.append(importlib.import_module("kumotwist.lua.address"))
    for module in modules:
        for cls in vars(module).values():
            host_class = HostClass.of(cls) if inspect.isclass(cls) and cls.__module__ == module.__name__ else None
            if host_class is not None:
                found[host_class.type_name] = (host_class, _first_line(cls))
    return found


def _members(name: str, described: HostClass) -> Iterator[str]:
    short = name.rpartition(" ")[2]
    for method in sorted(described.methods):
        yield _row(f"{short}:{method}", described.methods[method], skip=1)
    for attribute in sorted(described.fields):
        yield f"| `{short}.{attribute}` | |"
    for meta in described.meta:
        if meta in _META and meta not in ("__eq", "__tostring"):
            yield f"| {_META[meta]} | {_first_line(described.meta[meta])} |"


def _section(title: str, text: str, rows: Iterable[str]) -> str:
    table = list(rows)
    parts = [f"{title}\n", *([f"{text}\n"] if text else [])]
    return "\n".join([*parts, "| | |", "|---|---|", *table, ""]) if table else "\n".join(parts)


def _row(name: str, function: Function, skip: int = 0) -> str:
    waits = " *Waits.*" if inspect.iscoroutinefunction(function) else ""
    return f"| `{name}({_arguments(function, skip)})` | {_first_line(function)}{waits} |".replace("\n", " ")


def _arguments(function: Function, skip: int) -> str:
    """The parameters as Lua's manual writes them: `a, b [, c]`."""
    required, optional = [], []
    for parameter in list(inspect.signature(function).parameters.values())[skip:]:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            required.append("...")
        elif parameter.default is inspect.Parameter.empty:
            required.append(parameter.name)
        else:
            optional.append(parameter.name)
    text = ", ".join(required)
    for name in optional:
        text += f" [, {name}]" if text else f"[{name}]"
    return text


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def main(directory: str) -> None:
    """Write both pages."""
    Path(directory, "functions.md").write_text(functions_page(), encoding="utf-8")
    Path(directory, "events.md").write_text(events_page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])

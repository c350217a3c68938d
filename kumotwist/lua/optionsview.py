"""Options objects as policy sees them: `kumo.make_queue_config {...}` and its like can be indexed and iterated.

Public: `OPTION_CLASSES`, facades by options class; `as_table`. Values come out
as they would be written; a secret never does.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import attrs

from kumotwist.config.egress import PathConfig, PoolConfig, SourceConfig
from kumotwist.config.keysource import EnvironmentKey, EventKey, FileKey, LiteralKey, VaultKey
from kumotwist.config.listener import ListenerDomain
from kumotwist.config.option import DOC_KEY, Cidrs, Doc, Duration
from kumotwist.config.queue import MxHost, QueueConfig
from kumotwist.config.routes import ClassFunction, RouteTableConfig
from kumotwist.core.units import Limit, Throttle, format_duration
from kumotwist.lua.binding import text
from kumotwist.lua.convert import HostClass

_KEYS: Final = (EnvironmentKey, EventKey, FileKey, LiteralKey, VaultKey)


@lru_cache(maxsize=64)
def _shown_fields(cls: Any) -> tuple[tuple[str, bool], ...]:
    """The names of the options that are not secret, and whether each is a duration."""
    hints = typing.get_type_hints(cls)
    docs = [(one.name, one.metadata.get(DOC_KEY)) for one in attrs.fields(cls)]
    return tuple((name, _is_duration(hints[name])) for name, doc in docs if not (isinstance(doc, Doc) and doc.secret))


def as_table(options: object) -> dict[str, object]:
    """The options that are set, by name."""
    cls: Any = type(options)
    shown = [(name, getattr(options, name), is_duration) for name, is_duration in _shown_fields(cls)]
    return {
        name.removesuffix("_"): _plain(value, is_duration) for name, value, is_duration in shown if value is not None
    }


def _is_duration(hint: object) -> bool:
    return hint is Duration or Duration in typing.get_args(hint)


def _plain(value: object, is_duration: bool = False) -> object:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float) and is_duration:
        return format_duration(value) if value.is_integer() else value
    if isinstance(value, (Throttle, Limit)):
        return str(value)
    if isinstance(value, Cidrs):
        return [str(network) for network in value.networks]
    if isinstance(value, _KEYS):
        return "(key source)"
    if isinstance(value, ClassFunction):
        return "(function)"
    if isinstance(value, MxHost):
        return {"name": value.name, "addr": value.addr}
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if attrs.has(type(value)):
        name = getattr(value, "channel", None)
        return {name: as_table(value)} if name and name != "maildir" else as_table(value)
    return value


def _index(options: object, key: object) -> object:
    return as_table(options).get(text(key, "the option's name"))


def _pairs(options: object) -> Iterable[list[object]]:
    return [[key, value] for key, value in as_table(options).items()]


def _len(options: object) -> int:
    return len(as_table(options))


def _view(type_name: str) -> HostClass:
    return HostClass(type_name, methods={}, fields={}, meta={"__index": _index, "__pairs": _pairs, "__len": _len})


OPTION_CLASSES: Final[Mapping[type, HostClass]] = {
    QueueConfig: _view("queue_config"),
    RouteTableConfig: _view("route_table"),
    PoolConfig: _view("egress_pool"),
    SourceConfig: _view("egress_source"),
    PathConfig: _view("egress_path"),
    ListenerDomain: _view("listener_domain"),
}

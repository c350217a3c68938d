"""Options as an explanation shows them: what is not at its default, as text; secrets by name.

Public: `changed`, `secrets_of`, `limits_of`. Nothing can go wrong.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import attrs

from kumotwist.config.egress import PathConfig
from kumotwist.config.keysource import EnvironmentKey, EventKey, FileKey, LiteralKey, VaultKey
from kumotwist.config.option import Duration, option_name
from kumotwist.core.units import format_duration

#: What stands in the place of what is not shown.
_HIDDEN: Final = "(hidden)"
#: The option whose values are those of headers of a request, an Authorization among them.
_HEADERS: Final = "headers"
_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s]*@")
_QUERY_VALUE: Final = re.compile(r"=[^&#\s]+")


def changed(options: Any, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options that are not at their defaults, as text; key sources by name only."""
    found = {}
    kind: type = type(options)
    hints = _hints(kind)
    for field in attrs.fields(type(options)):
        value = getattr(options, field.name)
        default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
        if field.name not in skip and value != default:
            is_span = isinstance(value, float) and Duration in (hints[field.name], *typing.get_args(hints[field.name]))
            name = option_name(field)
            hides = name == _HEADERS and isinstance(value, Mapping)
            shown = dict.fromkeys(value, _HIDDEN) if hides else _plain(value)
            found[name] = format_duration(value) if is_span else shown
    return found


@cache
def _hints(kind: type) -> dict[str, Any]:
    """The types of its options; to find them takes 100 microseconds, and replays ask a million times."""
    return typing.get_type_hints(kind)


def _plain(value: object) -> Any:
    if isinstance(value, (FileKey, LiteralKey, EnvironmentKey, EventKey, VaultKey)):
        return f"({_named(value)})"
    if isinstance(value, str):
        return _without_secrets(value)
    if isinstance(value, (int, float, bool)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if attrs.has(type(value)):
        return changed(value)
    return str(value)


def secrets_of(options: Any) -> Iterator[tuple[str, str]]:
    """The secrets among them and where each comes from: key sources, and what URLs and headers of requests may hide."""
    for field in attrs.fields(type(options)):
        value, name = getattr(options, field.name), option_name(field)
        if isinstance(value, (FileKey, LiteralKey, EnvironmentKey, EventKey, VaultKey)):
            yield name, _named(value)
        elif isinstance(value, str) and _without_secrets(value) != value:
            yield name, "partly given in the policy"
        elif name == _HEADERS and isinstance(value, Mapping):
            yield from ((f"{name} {header}", "given in the policy") for header in value)


def _without_secrets(text: str) -> str:
    """A URL without what may give access in it: user and password, and the values of its query."""
    if "://" not in text:
        return text
    text = _USERINFO.sub(f"{_HIDDEN}@", text, count=1)
    address, mark, query = text.partition("?")
    return f"{address}{mark}{_QUERY_VALUE.sub(f'={_HIDDEN}', query)}"


def _named(source: object) -> str:
    """Where a secret comes from."""
    match source:
        case FileKey():
            return f"file {source.path}"
        case EnvironmentKey():
            return f"environment variable {source.env}"
        case EventKey():
            return f"event {source.event_name}"
        case VaultKey():
            return f"Vault {source.vault_mount}/{source.vault_path}, key {source.vault_key}"
    return "given in the policy"


def limits_of(path: PathConfig) -> Iterator[tuple[str, str]]:
    """What bounds the flow on a path, by name."""
    yield "connection_limit", str(path.connection_limit)
    yield "max_ready", str(path.max_ready)
    for name in ("max_message_rate", "max_connection_rate", "source_selection_rate"):
        rate = getattr(path, name)
        if rate is not None:
            yield name, str(rate)
    for name, limit in path.additional_connection_limits.items():
        yield f"connection_limit {name}", str(limit)
    for name, throttle in path.additional_message_rate_throttles.items():
        yield f"message rate {name}", str(throttle)

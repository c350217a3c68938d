"""Header methods of the message facade. Each is given the message and its body and returns what Lua sees.

Public: `BODY_METHODS`, named as Lua calls them; `lua.message` makes methods of them. What can go wrong: ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec
from attrs import frozen

from kumotwist.core.json import Json, JsonObject
from kumotwist.core.message import Message
from kumotwist.core.schedule import Schedule
from kumotwist.lua.address import AddressHeader
from kumotwist.lua.binding import flag, mapping, sequence, text
from kumotwist.proto.mime import headers

BodyMethod: TypeAlias = Callable[..., object]


# -- reading --------------------------------------------------------------------------------------


def get_first_named_header_value(_: Message, body: bytes, name: object) -> str | None:
    """The decoded value of the first header of that name in any case, or nil."""
    return headers.first_value(body, text(name, "name"))


def get_all_named_header_values(_: Message, body: bytes, name: object) -> list[str]:
    """The decoded values of all headers of that name."""
    return headers.all_values(body, text(name, "name"))


def get_all_headers(_: Message, body: bytes) -> list[list[str]]:
    """Every header as `{name, value}`, in order."""
    return [list(pair) for pair in headers.all_headers(body)]


def get_address_header(_: Message, body: bytes, name: object) -> AddressHeader | None:
    """The addresses in a header, or nil when there is none."""
    header = text(name, "name")
    raw = headers.first_raw(body, header)
    return None if raw is None else AddressHeader(header, raw)


def from_header(message: Message, body: bytes) -> AddressHeader | None:
    """The addresses of the From header."""
    return get_address_header(message, body, "From")


def to_header(message: Message, body: bytes) -> AddressHeader | None:
    """The addresses of the To header."""
    return get_address_header(message, body, "To")


def get_data(_: Message, body: bytes) -> bytes:
    """The whole message as it stands."""
    return body


# -- importing into metadata ----------------------------------------------------------------------


def _lowered(names: object) -> frozenset[str] | None:
    given = sequence(names, "names") if names is not None else []
    return frozenset(text(name, "name").lower() for name in given) or None


def _snake(name: str) -> str:
    return name.lower().replace("-", "_")


def import_x_headers(message: Message, body: bytes, names: object = None) -> None:
    """Copy headers into metadata, `X-Foo-Bar` as `x_foo_bar`: those named, else all that begin with X-."""
    wanted = _lowered(names)
    for name, value in headers.all_headers(body):
        lowered = name.lower()
        if lowered in wanted if wanted is not None else lowered.startswith("x-"):
            message.set_meta(_snake(name), value)


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[-_]+", name.lower()) if word]


_TRANSFORMS: Final[Mapping[str, Callable[[str], str]]] = {
    "snake_case": _snake,
    "kebab_case": lambda name: name.lower().replace("_", "-"),
    "camel_case": lambda name: (joined := "".join(word.capitalize() for word in _words(name)))[:1].lower() + joined[1:],
    "pascal_case": lambda name: "".join(word.capitalize() for word in _words(name)),
}


@frozen
class _ImportSpec:
    pattern: str
    match: Literal["first", "last", "all"]
    key: Callable[[str], str]
    remove: bool

    @classmethod
    def parse(cls, value: object) -> _ImportSpec:
        spec = mapping(value, "a spec of import_headers")
        unknown = set(spec) - {"name", "match", "transform", "target", "remove"}
        if unknown:
            raise ValueError(f"import_headers: unknown option '{min(unknown)}'")
        name = text(spec.get("name"), "import_headers: name").lower()
        if "*" in name[:-1] or name == "*":
            raise ValueError(f"import_headers: '{name}' may have a * at its end only")
        match = spec.get("match", "last")
        transform = spec.get("transform", "snake_case")
        if match not in ("first", "last", "all"):
            raise ValueError(f"import_headers: match must be first, last or all, got {match!r}")
        if transform not in _TRANSFORMS:
            raise ValueError(f"import_headers: transform must be one of {', '.join(_TRANSFORMS)}, got {transform!r}")
        key = _TRANSFORMS[str(transform)]
        if spec.get("target") is not None:
            if name.endswith("*"):
                raise ValueError("import_headers: target needs a name without *")
            key = _constant(text(spec["target"], "import_headers: target"))
        return cls(name, match, key, flag(spec.get("remove"), "import_headers: remove"))

    def matches(self, lowered: str) -> bool:
        return lowered.startswith(self.pattern[:-1]) if self.pattern.endswith("*") else lowered == self.pattern


def _constant(target: str) -> Callable[[str], str]:
    return lambda _: target


def _first(specs: Sequence[_ImportSpec], name: str) -> _ImportSpec | None:
    lowered = name.lower()
    return next((spec for spec in specs if spec.matches(lowered)), None)


def import_headers(message: Message, body: bytes, specs: object) -> None:
    """Copy headers into metadata as `{name, match, transform, target, remove}` says; the first that fits."""
    parsed = [_ImportSpec.parse(spec) for spec in sequence(specs, "specs")]
    found: JsonObject = {}
    for name, value in headers.all_headers(body):
        spec = _first(parsed, name)
        if spec is not None:
            _collect(found, spec.key(name), spec.match, value)
    for key, json in found.items():
        message.set_meta(key, json)
    _replace(message, body, lambda name: (spec := _first(parsed, name)) is not None and spec.remove)


def _collect(found: JsonObject, key: str, match: str, value: str) -> None:
    if match == "all":
        values = found.setdefault(key, [])
        assert isinstance(values, list)
        values.append(value)
    elif match == "last" or key not in found:
        found[key] = value


def import_scheduling_header(message: Message, body: bytes, name: object, remove: object = None) -> Json:
    """Apply the scheduling constraints that stand as JSON in a header; them as a table, or nil without the header."""
    header = text(name, "name")
    value = headers.first_value(body, header)
    if value is None:
        return None
    try:
        spec = msgspec.json.decode(value.encode(), type=dict[str, str | None])
    except msgspec.MsgspecError as error:
        raise ValueError(f"the {header} header is no JSON object of texts: {error}") from None
    schedule = Schedule.parse(dict(spec))
    message.set_schedule(schedule)
    if flag(remove, "remove"):
        _replace(message, body, lambda field: field == header.lower())
    return schedule.to_json()


# -- editing --------------------------------------------------------------------------------------


def _replace(message: Message, body: bytes, unwanted: Callable[[str], bool]) -> None:
    edited = headers.remove(body, unwanted)
    if edited is not body:
        message.set_body(edited)


def remove_x_headers(message: Message, body: bytes, names: object = None) -> None:
    """Remove headers: those named, else all that begin with X-."""
    wanted = _lowered(names)
    if wanted is not None:
        _replace(message, body, lambda name: name in wanted)
    else:
        _replace(message, body, lambda name: name.startswith("x-"))


def remove_all_named_headers(message: Message, body: bytes, name: object) -> None:
    """Remove all headers of that name in any case."""
    wanted = text(name, "name").lower()
    _replace(message, body, lambda field: field == wanted)


def prepend_header(message: Message, body: bytes, name: object, value: object, encode: object = None) -> None:
    """Put a header on top: the value as it stands, or RFC 2047 encoded and folded with `encode`."""
    message.set_body(headers.prepend(body, text(name, "name"), text(value, "value"), flag(encode, "encode")))


def append_header(message: Message, body: bytes, name: object, value: object, encode: object = None) -> None:
    """Put a header behind the last one; `encode` as for prepend_header."""
    message.set_body(headers.append(body, text(name, "name"), text(value, "value"), flag(encode, "encode")))


BODY_METHODS: Final[tuple[BodyMethod, ...]] = (
    get_first_named_header_value,
    get_all_named_header_values,
    get_all_headers,
    get_address_header,
    from_header,
    to_header,
    get_data,
    import_x_headers,
    import_headers,
    import_scheduling_header,
    remove_x_headers,
    remove_all_named_headers,
    prepend_header,
    append_header,
)

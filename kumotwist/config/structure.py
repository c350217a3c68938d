"""Plain values into options: what a Lua table, a TOML file or a JSON body says becomes an options object.

Lua gives a policy's tables here as dicts and lists; what comes out is typed,
complete with defaults, and safe to rely on. Nothing is guessed: a wrong type,
an unknown name or a choice that does not exist is an error that names the
option by its path, what came, and what to write instead.

Public: `structure`, `key_source`, `hint`, `describe_value`. What can go wrong:
`ConfigError`, for the first mistake found.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

import attrs

from kumotwist.config import kumomta
from kumotwist.config.keysource import (
    EnvironmentKey,
    EventKey,
    FileKey,
    KeySource,
    LiteralKey,
    VaultKey,
)
from kumotwist.config.option import DOC_KEY, Cidrs, Doc, Duration, WrongOption, option_name
from kumotwist.config.queue import MxHost, Protocol
from kumotwist.config.routes import ClassFunction
from kumotwist.config.table import Table
from kumotwist.core.errors import ConfigError
from kumotwist.core.units import Limit, Throttle, parse_duration

T = TypeVar("T")
#: Reads one value; raises ValueError that says what was expected, without the path.
Reader = Callable[[object], object]

_KINDS: Final = {bool: "a boolean", int: "a number", float: "a number", str: "a string", bytes: "a binary string"}


_OPENING: Final = "option"


class _Mistake(ValueError):
    """What is wrong, and where below the value at hand.

    `text` follows the path as it stands, its first blank or colon included; `opening` goes before the path.
    """

    def __init__(self, text: str, path: tuple[str, ...] = (), opening: str = _OPENING) -> None:
        super().__init__(text)
        self.text = text
        self.path = path
        self.opening = opening

    def below(self, *steps: object) -> _Mistake:
        return _Mistake(self.text, (*map(str, steps), *self.path), self.opening)

    def error(self, where: str) -> ConfigError:
        said = f"{self.opening} '{'.'.join(self.path)}'{self.text}" if self.path else self.text.lstrip(" :")
        return ConfigError(f"{where}: {said}" if where else said)


def structure(cls: type[T], value: object, where: str = "", at: Sequence[str] = ()) -> T:
    """An instance of the options class `cls` from a mapping of option names.

    `where` is what the operator wrote it in (`kumo.make_queue_config`) and
    begins the error; `at` are the steps that lead from there to `value`. An
    instance of `cls` is returned as it is.

    Raises ConfigError.
    """
    try:
        result = _reader(cls)(value)
    except _Mistake as mistake:
        raise mistake.below(*at).error(where) from None
    assert isinstance(result, cls)
    return result


def key_source(value: object, where: str) -> KeySource:
    """A key source from a path or one of its tables; `where` as in `structure`. Raises ConfigError."""
    try:
        return _key_source(value)
    except _Mistake as mistake:
        raise mistake.error(where) from None


def describe_value(value: object) -> str:
    """`value` in the operator's words, for an error; long texts are cut."""
    if value is None:
        return "nil"
    if isinstance(value, (list, tuple, Mapping)):
        return "a table"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        shown = repr(value)
        return shown if len(shown) <= 60 else f"{shown[:57]}..."
    return _KINDS.get(type(value), "something else")


def _expected(what: str, value: object) -> _Mistake:
    return _Mistake(f" must be {what}, got {describe_value(value)}")


def hint(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for a name that is close to a known one, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


# -- one reader per kind of type ------------------------------------------------------------------


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _expected("true or false", value)


def _int(value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _expected("a whole number", value)


def _float(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise _expected("a number", value)


def _str(value: object) -> str:
    if isinstance(value, str):
        return value
    raise _expected("a string", value)


def _mapping(value: object) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (list, tuple)) and not value:
        return {}
    raise _expected("a table with named entries", value)


def _items(value: object) -> list[object]:
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, Mapping) and not value:
        return []
    raise _expected("a list", value)


def _parsed(what: str, parse: Callable[[Any], object], kinds: tuple[type, ...]) -> Reader:
    def read(value: object) -> object:
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise _expected(what, value)
        try:
            return parse(value)
        except ValueError as error:
            raise _Mistake(f" is wrong: {error}") from None

    return read


def _cidrs(value: object) -> Cidrs:
    entries = [value] if isinstance(value, str) else _items(value)
    texts = []
    for entry in entries:
        if not isinstance(entry, str):
            raise _expected("a list of IP addresses and networks like '10.0.0.0/8'", entry)
        texts.append(entry)
    try:
        return Cidrs.parse(*texts)
    except ValueError as error:
        raise _Mistake(f" is wrong: {error}; write addresses and networks like '10.0.0.1' or '10.0.0.0/8'") from None


def _mx_host(value: object) -> str | MxHost:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and set(value) == {"name", "addr"}:
        return MxHost(_str(value["name"]), _str(value["addr"]))
    raise _expected("a host like 'mx.example:25' or { name = 'mx.example', addr = '10.0.0.1:25' }", value)


_KEY_FORMS: Final = "a path, { key_data = }, { env = }, { event_name = } or { vault_mount =, vault_path = }"


def _key_source(value: object) -> KeySource:
    if isinstance(value, str):
        return FileKey(value)
    table = _mapping(value)
    if "key_data" in table:
        data = table["key_data"]
        if not isinstance(data, (str, bytes)):
            raise _Mistake(" must be a string").below("key_data")
        return LiteralKey(data.encode() if isinstance(data, str) else data)
    if "event_name" in table:
        return EventKey(_str(table["event_name"]), tuple(_items(table.get("event_args", []))))  # type: ignore[arg-type]
    if "env" in table:
        return EnvironmentKey(_str(table["env"]))
    if any(name.startswith("vault_") for name in table):
        return _vault_key(table)
    raise _Mistake(f" must say where the key comes from: {_KEY_FORMS}")


def _unusable(value: object) -> str:
    """What is wrong with a key source, without any value that stands in it."""
    words = [str(name) for name in value] if isinstance(value, Mapping) else []
    known = ("key_data", "env", "event_name", "event_args", *(field.name for field in attrs.fields(VaultKey)))
    wrong = next((name for name in words if name not in known), None)
    why = f": it has no '{wrong}'{hint(wrong, known).rstrip('?')}" if wrong is not None else ""
    return f" is not a usable key source{why}; write {_KEY_FORMS}"


def _vault_key(table: Mapping[str, object]) -> VaultKey:
    key = _attrs_reader(VaultKey)(table)
    assert isinstance(key, VaultKey)
    if key.vault_kv_version not in (1, 2):
        raise _Mistake(f" must be 1 or 2, got {key.vault_kv_version}").below("vault_kv_version")
    return key


def _protocol(value: object) -> object:
    """An options object that `egress.registry` has read already; which names there are, only it knows."""
    if attrs.has(type(value)):
        return value
    raise _expected("the options of a protocol", value)


def _class(value: object) -> str | ClassFunction:
    """A function comes as Lua hands it over: it can be called, and knows where it begins."""
    place = getattr(value, "place", None)
    if isinstance(value, ClassFunction):
        return value
    if callable(value) and isinstance(place, str):
        return ClassFunction(place, value)
    if isinstance(value, str):
        return value
    raise _expected("a string or a function", value)


def _anything(value: object) -> object:
    return value


_SCALARS: Final[dict[object, Reader]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    object: _anything,
    Any: _anything,
    Duration: _parsed("a duration like '5 minutes' or a number of seconds", parse_duration, (int, float, str)),
    Throttle: _parsed("a rate like '100/s' or '1,000/h'", Throttle.parse, (str,)),
    Limit: _parsed("a limit like 32 or '1,000'", Limit.parse, (int, str)),
    Cidrs: _cidrs,
    Protocol: _protocol,
    KeySource: _key_source,
    str | MxHost: _mx_host,
    str | ClassFunction: _class,
}


def _reader(kind: Any) -> Reader:
    """As `_reader_of`; the cache's own signature does not take a generic class."""
    return _reader_of(kind)


@lru_cache(maxsize=512)
def _reader_of(kind: Any) -> Reader:
    """The reader for a type as it stands in an annotation."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    if attrs.has(kind):
        return _attrs_reader(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _choice(arguments)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is tuple:
        return _tuple(_reader(arguments[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _table(_reader(arguments[1]))
    return _anything


def _choice(choices: tuple[object, ...]) -> Reader:
    names = [str(choice) for choice in choices]

    def read(value: object) -> object:
        # True is 1 to Python, and Lua may say 5.0 for 5.
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value in choices:
            return choices[choices.index(value)]
        meant = hint(value, names) if isinstance(value, str) else ""
        raise _Mistake(f" must be one of {', '.join(names)}, got {describe_value(value)}{meant}")

    return read


def _union(kinds: tuple[Any, ...]) -> Reader:
    is_optional = type(None) in kinds
    rest = tuple(kind for kind in kinds if kind is not type(None))
    known = next((reader for union, reader in _SCALARS.items() if set(get_args(union)) == set(rest)), None)
    readers = [known] if known else [_reader(kind) for kind in rest]

    def read(value: object) -> object:
        if value is None and is_optional:
            return None
        for reader in readers[:-1]:
            try:
                return reader(value)
            except _Mistake:
                continue
        return readers[-1](value)

    return read


def _tuple(reader: Reader) -> Reader:
    def read(value: object) -> object:
        found = []
        for number, item in enumerate(_items(value), 1):
            try:
                found.append(reader(item))
            except _Mistake as mistake:
                raise mistake.below(number) from None
        return tuple(found)

    return read


def _table(reader: Reader) -> Reader:
    def read(value: object) -> object:
        found = {}
        for name, item in _mapping(value).items():
            try:
                found[name] = reader(item)
            except _Mistake as mistake:
                raise mistake.below(name) from None
        return Table(found)

    return read


@lru_cache(maxsize=128)
def _attrs_reader(cls: type) -> Reader:
    """The reader of an options class: its fields by name, defaults for what is absent."""
    hints = typing.get_type_hints(cls, localns={"Criterion": object})
    fields = {option_name(field): _reader(hints[field.name]) for field in attrs.fields(cls)}
    attributes = {option_name(field): field.name for field in attrs.fields(cls)}
    required = [option_name(field) for field in attrs.fields(cls) if field.default is attrs.NOTHING]
    secrets = {option_name(field) for field in attrs.fields(cls) if _doc(field).secret}

    def read(value: object) -> object:
        if isinstance(value, cls):
            return value
        table = _mapping(value)
        given = {}
        for name, item in table.items():
            if name not in fields:
                raise _unknown(cls, name, fields)
            if item is None:
                continue
            try:
                given[attributes[name]] = fields[name](item)
            except _Mistake as mistake:
                is_word_wrong = mistake.opening != _OPENING and isinstance(item, Mapping)
                hides = name in secrets and (not mistake.path or is_word_wrong)
                raise (_Mistake(_unusable(item)) if hides else mistake).below(name) from None
        missing = [name for name in required if attributes[name] not in given]
        if missing:
            raise _Mistake(" is required", (missing[0],))
        try:
            return cls(**given)
        except WrongOption as error:
            raise _Mistake(f" {error.text}", (error.name,)) from None
        except ValueError as error:
            # About several options together; it names them itself.
            raise _Mistake(f": {error}") from None

    return read


def _doc(field: attrs.Attribute[Any]) -> Doc:
    doc = field.metadata.get(DOC_KEY)
    return doc if isinstance(doc, Doc) else Doc("")


def _unknown(cls: type, name: object, known: Iterable[str]) -> _Mistake:
    shown = str(name)
    if shown in kumomta.unsupported(cls.__name__):
        return _Mistake(" is known to KumoMTA but not supported by kumotwist; see docs/kumomta-users.md", (shown,))
    return _Mistake(hint(shown, known), (shown,), "unknown option")

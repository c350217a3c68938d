"""`kumo.serde`: JSON, TOML and YAML texts and files as Lua values.

`null` becomes nil, so an entry that is null is absent. Files are read at once,
also while the policy loads; they are bounded like everything else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import tomli_w

from kumotwist.core.json import Json
from kumotwist.lua.binding import Function, text
from kumotwist.lua.lib.plain import MAX_DEPTH, encode_json, plain
from kumotwist.lua.lib.yamlcore import parse_yaml, write_yaml

Parser = Callable[[str], Json]

#: Octets of a file; the largest shaping files are some MiB.
MAX_FILE: Final = 16 << 20


class SerdeLibrary:
    """The functions of `kumo.serde`."""

    namespace = "serde"

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {
            "json_encode": self.json_encode,
            "json_encode_pretty": self.json_encode_pretty,
            "json_load": self.json_load,
            "json_parse": self.json_parse,
            "toml_encode": self.toml_encode,
            "toml_load": self.toml_load,
            "toml_parse": self.toml_parse,
            "yaml_encode": self.yaml_encode,
            "yaml_load": self.yaml_load,
            "yaml_parse": self.yaml_parse,
        }

    def json_encode(self, value: object) -> str:
        """The value as compact JSON; a table with entries 1..n is an array, {} an object."""
        return encode_json(value)

    def json_encode_pretty(self, value: object) -> str:
        """The value as JSON on several lines."""
        return msgspec.json.format(encode_json(value), indent=2)

    def json_load(self, filename: object) -> Json:
        """The value in a JSON file."""
        name = text(filename, "filename")
        return _in_file(name, _parse_json, _read(name))

    def json_parse(self, string: object) -> Json:
        """The value of a JSON text."""
        return _parse_json(text(string, "string"))

    def toml_encode(self, value: object) -> str:
        """The table as TOML."""
        return tomli_w.dumps(_document(value))

    def toml_load(self, filename: object) -> Json:
        """The table in a TOML file."""
        name = text(filename, "filename")
        return _in_file(name, _parse_toml, _read(name))

    def toml_parse(self, string: object) -> Json:
        """The table of a TOML text; dates come as text."""
        return _parse_toml(text(string, "string"))

    def yaml_encode(self, value: object) -> str:
        """The value as YAML."""
        return write_yaml(plain(value, "the value"))

    def yaml_load(self, filename: object) -> Json:
        """The value in a YAML file."""
        name = text(filename, "filename")
        return _in_file(name, parse_yaml, _read(name))

    def yaml_parse(self, string: object) -> Json:
        """The value of a YAML 1.2 text."""
        return parse_yaml(text(string, "string"))


class SerdeAliases:
    """The names that these functions had before `kumo.serde`, in `kumo` itself."""

    namespace = ""

    def __init__(self, serde: SerdeLibrary) -> None:
        self._serde = serde

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        known = self._serde.functions()
        names = ("json_encode", "json_encode_pretty", "json_load", "json_parse")
        return {name: known[name] for name in (*names, "toml_encode", "toml_load", "toml_parse")}


def _parse_json(source: str) -> Json:
    try:
        value: Json = msgspec.json.decode(source)
        is_flat = source.count("[") + source.count("{") <= MAX_DEPTH
        return value if is_flat else plain(value, "the JSON text")
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None


def _parse_toml(source: str) -> Json:
    try:
        return plain(tomllib.loads(source), "the TOML text")
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}") from None


def _document(value: object) -> dict[str, Json]:
    document = _without_null(plain(value, "the value"))
    if not isinstance(document, dict):
        raise ValueError("TOML needs a table with named entries")
    return document


def _without_null(value: Json) -> Json:
    """TOML has no null: such entries are left out of tables."""
    if isinstance(value, dict):
        return {key: _without_null(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        if None in value:
            raise ValueError("TOML cannot hold a list with gaps")
        return [_without_null(one) for one in value]
    return value


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"{path} is larger than {MAX_FILE} octets")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None


def _in_file(path: str, parse: Parser, source: str) -> Json:
    try:
        return parse(source)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None

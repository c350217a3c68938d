"""YAML with the core schema of YAML 1.2, which KumoMTA reads: `no` is a text, `010` is ten, dates are texts.

PyYAML reads YAML 1.1; only its rules for untagged scalars are replaced here.
Public: `parse_yaml`, `write_yaml`. Errors are ValueError.
"""

from __future__ import annotations

import re
from typing import Final

import yaml

try:
    from yaml import CSafeDumper as SafeDumper
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML built without libyaml: the same, ten times slower
    from yaml import SafeDumper, SafeLoader  # type: ignore[assignment]

from kumotwist.core.json import Json
from kumotwist.lua.lib.plain import plain

_NULL: Final = "tag:yaml.org,2002:null"
_BOOL: Final = "tag:yaml.org,2002:bool"
_INT: Final = "tag:yaml.org,2002:int"
_FLOAT: Final = "tag:yaml.org,2002:float"
#: YAML 1.2.2 s10.3.2, with the first characters each can begin with.
_CORE_SCHEMA: Final = (
    (_NULL, r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    (_BOOL, r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    (_INT, r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z", list("-+0123456789")),
    (
        _FLOAT,
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
        list("-+.0123456789"),
    ),
)


class _Loader(SafeLoader):
    """Reads the core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


class _Dumper(SafeDumper):
    """Quotes what the core schema, or YAML 1.1 elsewhere, would take for something else than text."""

    def ignore_aliases(self, data: object) -> bool:
        return data is not None


def _whole_number(loader: SafeLoader, node: yaml.ScalarNode) -> int:
    digits = str(loader.construct_scalar(node))
    base = 8 if digits.startswith("0o") else 16 if digits.startswith("0x") else 10
    return int(digits, base)


for _tag, _pattern, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)
    _Dumper.add_implicit_resolver(_tag, re.compile(_pattern), _first)
_Loader.add_constructor(_INT, _whole_number)


def parse_yaml(source: str) -> Json:
    """The one document in `source`."""
    try:
        return plain(yaml.load(source, _Loader), "the YAML text")  # noqa: S506 - _Loader is a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not YAML: {error}") from None


def write_yaml(value: Json) -> str:
    """`value` in block style, keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)

"""The reference page of options, made from their declarations.

Run as `python -m kumotwist.config.describe FILE`; `make docs` does.
Public: `page`, `option_table`. Nothing can go wrong but writing the file.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

import attrs

from kumotwist.config.catalog import CATALOG, NESTED
from kumotwist.config.keysource import KeySource
from kumotwist.config.option import DOC_KEY, Cidrs, Doc, Duration, option_name
from kumotwist.config.queue import Protocol
from kumotwist.config.routes import ClassFunction
from kumotwist.core.units import Limit, Throttle, format_duration

_INTRODUCTION: Final = """\
# Options

Every option of every function that takes a table. A name that is not here is an error that names the nearest one. A
*duration* is a number of seconds or a text like `"5 minutes"`; a *rate* is `"100/s"` or `"1,000/h,max_burst=5"`; a
*limit* is a number or `"local:20"`; *networks* are a list like `{ "10.0.0.0/8", "::1" }`; a *key source* is a path,
`{ key_data = "..." }`, `{ env = "NAME" }`, `{ event_name = "...", event_args = {} }` or
`{ vault_mount = "...", vault_path = "...", vault_key = "key" }`.

This page is made from the declarations in `kumotwist/config/`; `make docs` writes it.
"""

_NAMES: Final[dict[object, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    object: "any",
    Duration: "duration",
    Throttle: "rate",
    Limit: "limit",
    Cidrs: "networks",
    Protocol: "protocol",
    KeySource: "key source",
    str | ClassFunction: "string or function",
}


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([_INTRODUCTION, *_sections("##", CATALOG), "## Tables inside others\n", *_sections("###", NESTED)])


def _sections(level: str, classes: Mapping[str, type]) -> Iterator[str]:
    for name, cls in classes.items():
        summary = (cls.__doc__ or "").strip()
        yield "\n".join([f"{level} `{name}`\n", f"{summary}\n", option_table(cls)])


def option_table(cls: type) -> str:
    """A Markdown table of an options class, ending in a line break; "" when it has none."""
    rows = [_row(field, hint) for field, hint in _fields(cls)]
    return "\n".join(["| option | type | default | meaning |", "|---|---|---|---|", *rows, ""]) if rows else ""


def _fields(cls: type) -> list[tuple[attrs.Attribute[Any], object]]:
    hints = typing.get_type_hints(cls)
    fields = [(field, hints[field.name]) for field in attrs.fields(cls)]
    return sorted(fields, key=lambda pair: (_doc(pair[0]).no_effect is not None, pair[0].name))


def _row(field: attrs.Attribute[Any], hint: object) -> str:
    doc = _doc(field)
    meaning = doc.text
    if doc.unit:
        meaning += f" In {doc.unit}."
    if doc.no_effect:
        meaning += f" *Accepted without effect: {doc.no_effect}.*"
    cells = (f"`{option_name(field)}`", _type_name(hint), _default(field, hint), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _doc(field: attrs.Attribute[Any]) -> Doc:
    doc = field.metadata.get(DOC_KEY)
    return doc if isinstance(doc, Doc) else Doc("")


def _type_name(hint: object) -> str:
    if hint in _NAMES:
        return _NAMES[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        rest = [argument for argument in arguments if argument is not type(None)]
        if {bool, int, float, str} <= set(rest):
            return "any value"
        known = next((name for kind, name in _NAMES.items() if set(get_args(kind)) == set(rest)), None)
        return known or " or ".join(_type_name(argument) for argument in rest)
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return f"table of {_type_name(arguments[1])}"
    return "table"


def _default(field: attrs.Attribute[Any], hint: object) -> str:
    value = field.default
    if value is attrs.NOTHING:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and Duration in (hint, *get_args(hint)):
        return f'`"{format_duration(value)}"`'
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, (Cidrs, Throttle, Limit)):
        return f"`{value}`" if str(value) else "`{}`"
    if isinstance(value, (int, str)):
        return f"`{value!r}`".replace("'", '"')
    return "`{}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())

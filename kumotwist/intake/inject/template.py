"""Templates of HTTP injection: the Jinja dialect by minijinja, and plain text.

A request brings templates for the body and the headers; they are compiled once
and rendered for each recipient. Equal texts of later requests find their
compiled form in a bounded cache.

Public: `Templates` (`compile` gives a `Template`), `Template.render`,
`TemplateProblem`. What can go wrong: `TemplateProblem` with the field, the
line and the text of that line, for a syntax error as for a failed rendering.
Rendering is bounded by instructions, by text made on the way and by output.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import minijinja
from attrs import frozen

from kumotwist.core.errors import KumotwistError
from kumotwist.core.json import Json, JsonObject
from kumotwist.intake.inject.dates import FILTERS

Dialect: TypeAlias = Literal["Jinja", "Static", "Handlebars"]

#: Compiled templates kept, and the characters of source they may hold together. Ours: a few campaigns at once.
MAX_CACHED: Final = 1024
MAX_CACHED_TEXT: Final = 16 * 1024 * 1024
#: The engine's fuel for one rendering: an instruction costs 1 and so do 64 octets of text that it makes. Ours: a loop
#: over some 200,000 rows, some 64 MB of text in all, some tens of milliseconds.
MAX_FUEL: Final = 1_000_000
#: Characters of output of one rendering. Ours: the default of max_message_size, 20 MiB.
MAX_OUTPUT: Final = 20 * 1024 * 1024
#: Characters of a source line shown in an error.
_SHOWN: Final = 100

_MARKUP: Final = re.compile(r"\{\{|\{%|\{#")


class TemplateProblem(KumotwistError):
    """The client's template is wrong. Answer 422, or count the recipient failed."""


@frozen
class Template:
    """A compiled template; rendering it twice with equal variables gives equal text."""

    _source: str
    _name: str | None
    _engine: _Engine | None

    @property
    def is_static(self) -> bool:
        """Whether it renders to the same text for everybody."""
        return self._engine is None

    def render(self, variables: JsonObject) -> str:
        """The text for `variables`. Raises TemplateProblem."""
        if self._engine is None or self._name is None:
            return self._source
        return self._engine.render(self._name, self._source, variables)


class _Engine:
    """One minijinja environment with its templates by number; evicted ones are removed."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._environment = minijinja.Environment(
            auto_escape_callback=_auto_escape, undefined_behavior="lenient", fuel=MAX_FUEL, filters=FILTERS
        )
        self._environment.add_global("now", now)

    def add(self, name: str, source: str) -> None:
        """Compile; raises TemplateProblem."""
        try:
            self._environment.add_template(name, source)
        except minijinja.TemplateError as error:
            raise TemplateProblem(_describe(error, source)) from None

    def remove(self, name: str) -> None:
        self._environment.remove_template(name)

    def render(self, name: str, source: str, variables: JsonObject) -> str:
        """Raises TemplateProblem."""
        try:
            text = self._environment.render_template(name, **variables)
        except minijinja.TemplateError as error:
            raise TemplateProblem(_describe(error, source)) from None
        except BaseException as error:
            # The engine reports a defect of its own with an exception outside Exception.
            if isinstance(error, Exception) or type(error).__name__ == "PanicException":
                raise TemplateProblem(str(error)) from None
            raise
        if len(text) > MAX_OUTPUT:
            raise TemplateProblem(f"the text grows beyond {MAX_OUTPUT} characters")
        return text


class Templates:
    """Compiles templates and keeps them; one per worker. `now` gives Unix seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._engine = _Engine(now)
        self._kept: OrderedDict[tuple[str, bool], str] = OrderedDict()
        self._kept_text = 0
        self._made = 0

    def compile(self, source: str, field_name: str, *, is_html: bool = False, dialect: Dialect = "Jinja") -> Template:
        """The template `source` of the request's `field_name`; with `is_html` what it prints is escaped.

        Raises TemplateProblem naming the field, the line and what is wrong.
        """
        if dialect == "Handlebars":
            raise TemplateProblem("field 'template_dialect': Handlebars is not supported, use Jinja or Static")
        if dialect == "Static" or not _MARKUP.search(source):
            return Template(source, None, None)
        key = (source, is_html)
        name = self._kept.get(key)
        if name is None:
            name = self._add(key, field_name)
        else:
            self._kept.move_to_end(key)
        return Template(source, name, self._engine)

    def __len__(self) -> int:
        return len(self._kept)

    def _add(self, key: tuple[str, bool], field_name: str) -> str:
        self._made += 1
        name = f"{self._made}.{'html' if key[1] else 'txt'}"
        try:
            self._engine.add(name, key[0])
        except TemplateProblem as problem:
            raise TemplateProblem(f"failed parsing field '{field_name}' as template: {problem}") from None
        self._kept[key] = name
        self._kept_text += len(key[0])
        return name

    def trim(self) -> None:
        """Forget the least recently used beyond the bounds; between requests, when none is in use."""
        while len(self._kept) > MAX_CACHED or self._kept_text > MAX_CACHED_TEXT:
            (source, _), name = self._kept.popitem(last=False)
            self._kept_text -= len(source)
            self._engine.remove(name)


def variables_for(*layers: Mapping[str, Json]) -> JsonObject:
    """The variables of one recipient; later layers win."""
    variables: JsonObject = {}
    for layer in layers:
        variables.update(layer)
    return variables


def _auto_escape(name: str) -> str | None:
    return "html" if name.endswith(".html") else None


def _describe(error: minijinja.TemplateError, source: str) -> str:
    """`kind: detail (in line 3: 'the line')`."""
    kind = error.message.partition(" (in ")[0]
    if not error.line:
        return kind
    lines = source.splitlines()
    shown = lines[error.line - 1][:_SHOWN] if error.line <= len(lines) else ""
    return f"{kind} (in line {error.line}: {shown!r})"

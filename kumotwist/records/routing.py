"""What a log or a hook does with each record type, from its `per_record` table.

Public: `Route`, `routes`. What can go wrong: an unknown record type or a
template that does not parse is a `ConfigError` when the log is configured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen
from minijinja import Environment, TemplateError

from kumotwist.config.records import RecordOptions
from kumotwist.core.errors import ConfigError
from kumotwist.core.records import RecordType
from kumotwist.records import dispositions
from kumotwist.records.dispositions import JsonRecord

ANY: Final = "Any"
#: KumoMTA's types that we do not write, but that a policy may well name.
_OTHER_TYPES: Final = frozenset(("AdminRebind", "DeferredInjectionRebind", "XferIn", "XferOut"))
_KNOWN: Final = frozenset(one.value for one in RecordType) | _OTHER_TYPES | {ANY}


@frozen(eq=False)
class Route:
    """How records of one type are written."""

    options: RecordOptions
    _templates: Environment | None = None
    _name: str = ""

    def line(self, record: JsonRecord) -> bytes:
        """The record as JSON or by template, with its line end.

        Raises TemplateError when the template fails on this record.
        """
        if self._templates is None:
            return dispositions.encode(record) + b"\n"
        fields = dispositions.to_object(record)
        fields["log_record"] = dict(fields)
        text = self._templates.render_template(self._name, **fields)
        return (text if text.endswith("\n") else text + "\n").encode("utf-8", "replace")


def routes(per_record: Mapping[str, RecordOptions], whose: str) -> dict[RecordType, Route]:
    """The route of every type that is enabled. Raises ConfigError; `whose` names the log in it."""
    unknown = sorted(set(per_record) - _KNOWN)
    if unknown:
        raise ConfigError(
            f"{whose}: unknown record type {unknown[0]!r} in per_record; known: {', '.join(sorted(_KNOWN))}"
        )
    templates = _templates(per_record, whose)
    table = {}
    for kind in RecordType:
        name = kind.value if kind.value in per_record else ANY
        options = per_record.get(name, RecordOptions())
        if options.enable:
            table[kind] = Route(options, templates if options.template is not None else None, name)
    return table


def _templates(per_record: Mapping[str, RecordOptions], whose: str) -> Environment:
    environment = Environment(keep_trailing_newline=True)
    for name, options in per_record.items():
        if options.template is not None:
            try:
                environment.add_template(name, options.template)
            except TemplateError as error:
                raise ConfigError(f"{whose}: the template of {name} does not parse: {error}") from error
    return environment

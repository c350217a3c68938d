"""`GET /api/openapi.json`: our HTTP API, described by itself (OpenAPI 3.1).

The document is made from the routes that a listener serves: paths and answers
from their `Operation`s, schemas from the types that read and write the bodies.

Public: `with_document`, `document`. What can go wrong: TypeError for a type
that has no JSON schema, ValueError for a route without `Operation` or a name
that is used twice; all are defects of ours, found when the listener is made.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from kumotwist.core.json import Json, JsonObject
from kumotwist.net.operation import JSON, Answer, Operation, Parameter, json_answer, text_answer
from kumotwist.net.router import HttpRequest, Reply, Route

PATH: Final = "/api/openapi.json"
_REF: Final = "#/components/schemas/{name}"
_OPENAPI: Final = Operation(
    name="openapi",
    tag="operation",
    summary="This document.",
    answers={200: json_answer("The document.", dict[str, object])},
)
#: What every route may answer, since every request is authenticated and judged first.
_COMMON: Final[Mapping[int, Answer]] = {
    400: text_answer("A header that cannot be read."),
    401: text_answer("Unknown, or not permitted.", {"WWW-Authenticate": "The challenge."}),
    413: text_answer("The body is larger than the listener's `request_body_limit`."),
    415: text_answer("An unknown Content-Encoding."),
    500: text_answer("A defect or a policy that failed; the diagnostic log says more."),
    503: text_answer("Too much is going on; ask again later."),
}
_DESCRIPTION: Final = """Clients in the listener's `trusted_hosts` need no credential; others log in with HTTP Basic, \
which the policy judges. An unknown path is 404, another method than the ones here 405. Errors are plain text."""


def with_document(routes: Iterable[Route]) -> tuple[Route, ...]:
    """`routes` and one more, which serves the document that describes them all."""
    served: list[Route] = [*routes]

    async def handle(_: HttpRequest) -> Reply:
        return Reply(200, body, JSON)

    served.append(Route("GET", PATH, handle, _OPENAPI))
    body = msgspec.json.encode(document(served))
    return tuple(served)


def document(routes: Sequence[Route]) -> JsonObject:
    """The document for `routes`. Raises TypeError, ValueError."""
    described = [(route, route.operation) for route in routes if route.operation is not None]
    if len(described) < len(routes):
        silent = [route.path for route in routes if route.operation is None]
        raise ValueError(f"routes that say nothing of themselves: {', '.join(silent)}")
    names = [operation.name for _, operation in described]
    if len(set(names)) != len(names):
        raise ValueError(f"two operations have one name: {sorted(names)}")
    schemas = _Schemas([operation for _, operation in described])
    paths: JsonObject = {}
    for route, operation in described:
        methods = paths.setdefault(route.path, {})
        assert isinstance(methods, dict)
        methods[route.method.lower()] = (
            _operation(operation, schemas)
            if route.is_guarded
            else {
                **_operation(operation, schemas),
                # What proves who calls is the provider's own.
                "security": [],
            }
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kumotwist",
            "version": importlib.metadata.version("kumotwist"),
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"basic": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
            "schemas": schemas.components,
        },
    }


class _Schemas:
    """The JSON schemas of all types that occur."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        taken = [one.body for one in operations if one.body is not None]
        given = [
            body for one in operations for answer in one.answers.values() for body in answer.bodies.values() if body
        ]
        # Separately, since only what we answer is sure to have all of its fields.
        self._of: dict[str, JsonObject] = {}
        self.components: JsonObject = {}
        self._add(taken, is_answer=False)
        self._add(given, is_answer=True)

    def of(self, kind: object) -> JsonObject:
        """The schema of one type."""
        return self._of[repr(kind)]

    def _add(self, kinds: Sequence[object], *, is_answer: bool) -> None:
        found: tuple[Any, dict[str, Any]] = msgspec.json.schema_components(kinds, schema_hook=_hook, ref_template=_REF)
        self._of.update({repr(kind): schema for kind, schema in zip(kinds, found[0], strict=True)})
        for name, schema in found[1].items():
            self.components[name] = _complete(schema) if is_answer else schema
            _clean(self.components[name])


def _hook(kind: type) -> JsonObject:
    if kind is object:
        return {"description": "Any JSON."}
    raise NotImplementedError(kind)


def _complete(schema: dict[str, Any]) -> JsonObject:
    """An object that we write has all of its fields."""
    properties: dict[str, dict[str, Any]] = schema.get("properties", {})
    for one in properties.values():
        one.pop("default", None)
    return {**schema, "required": list(properties), "additionalProperties": False}


def _clean(schema: Json) -> None:
    """Descriptions come from docstrings, with their indentation."""
    if isinstance(schema, dict) and isinstance(text := schema.get("description"), str):
        schema["description"] = inspect.cleandoc(text)


def _operation(operation: Operation, schemas: _Schemas) -> JsonObject:
    described: JsonObject = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": {
            str(code): _answer(answer, schemas) for code, answer in sorted({**_COMMON, **operation.answers}.items())
        },
    }
    if operation.text:
        described["description"] = operation.text
    if operation.parameters:
        described["parameters"] = [_parameter(one) for one in operation.parameters]
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas.of(operation.body)}}}
    if operation.takes:
        described["requestBody"] = {"content": {kind: {"schema": {}} for kind in operation.takes}}
    return described


def _answer(answer: Answer, schemas: _Schemas) -> JsonObject:
    described: JsonObject = {
        "description": answer.text,
        "content": {
            kind: {"schema": schemas.of(body) if body is not None else {"type": "string"}}
            for kind, body in answer.bodies.items()
        },
    }
    if answer.headers:
        described["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers.items()
        }
    return described


def _parameter(parameter: Parameter) -> JsonObject:
    schema: JsonObject = {"type": "string"}
    if parameter.max_length is not None:
        schema["maxLength"] = parameter.max_length
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.is_required,
        "description": parameter.text,
        "schema": schema,
    }

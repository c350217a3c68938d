"""JSON Schema from Google's discovery documents, whose objects know no further members than they list.

Public: `discovered`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

_DOCUMENTS = Path(__file__).parents[1] / "openapi"


@cache
def discovered(file: str, name: str) -> Any:
    """A validator for the schema `name` of a document in `tests/support/openapi`."""
    document = json.loads((_DOCUMENTS / file).read_text())
    schemas = {key: _schema(value) for key, value in document["schemas"].items()}
    return jsonschema_rs.validator_for({"$ref": f"#/$defs/{name}", "$defs": schemas})


def _schema(value: Any) -> Any:
    if isinstance(value, list):
        return [_schema(one) for one in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("$ref"), str):
        return {"$ref": f"#/$defs/{value['$ref']}"}
    if value.get("type") == "any":
        return {}
    schema = {key: _schema(one) for key, one in value.items() if key not in ("format", "readOnly")}
    if "properties" in value and value.get("type") == "object":
        schema["additionalProperties"] = False
    return schema

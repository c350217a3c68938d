"""The JSON schema of an explanation: what `kumotwist explain --json` prints and the explain API answers.

It is kept in the documentation, so that a change of it is seen. Every field is
always there; those that a later version adds break nobody who follows it.

Public: `explanation_schema`; as a program, it writes it to the file that is named.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from kumotwist.admin.explanation import Told
from kumotwist.core.json import JsonObject


def explanation_schema() -> JsonObject:
    """The schema, as draft 2020-12 has it."""
    schema: dict[str, Any] = msgspec.json.schema(Told)
    for one in schema["$defs"].values():
        if "properties" in one:
            one["required"] = list(one["properties"])
        if "description" in one:
            one["description"] = inspect.cleandoc(one["description"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "kumotwist explain", **schema}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(explanation_schema(), indent=2) + "\n")

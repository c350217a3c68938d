"""Whether a reply is one that `/api/openapi.json` announces: status, media type, body.

Public: `Contract`. A reply that the document does not know is an AssertionError.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import jsonschema_rs

from kumotwist.admin.openapi import document
from kumotwist.net.router import Route

#: What the server says before it knows the route, or because there is none.
BEFORE_THE_ROUTE = frozenset((404, 405, 408, 431))


class Contract:
    """The document of some routes, applied to replies."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.document: dict[str, Any] = json.loads(json.dumps(document(list(routes))))

    def check(self, method: str, path: str, code: int, media_type: str, body: bytes) -> None:
        """Raise AssertionError unless the document announces this reply."""
        if code in BEFORE_THE_ROUTE:
            return
        where = f"{method} {path} {code}"
        methods = self.document["paths"].get(path.partition("?")[0], {})
        operation = methods.get("get" if method == "HEAD" else method.lower())
        if operation is None:
            # Strangers do not even learn what there is.
            assert code == 401, f"{where}, where nothing is served"
            return
        assert str(code) in operation["responses"], f"{where} is not announced"
        content = operation["responses"][str(code)]["content"]
        kind = media_type.partition(";")[0]
        assert kind in content, f"{where} is {kind}; announced are {list(content)}"
        if kind == "application/json" and method != "HEAD":
            schema = {**content[kind]["schema"], "components": self.document["components"]}
            problems = list(jsonschema_rs.Draft202012Validator(schema).iter_errors(json.loads(body)))
            assert not problems, f"{where}: {problems[0]}"

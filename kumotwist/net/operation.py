"""What a route of our HTTP API says about itself, for `/api/openapi.json`.

Whoever serves a route declares here what it takes and what it answers, by the
types that read and write the bodies. What holds for every route (who may ask,
what an overloaded server says) is added by who makes the document.

Public: `Operation`, `Answer`, `Parameter`, `text_answer`, `json_answer`,
`BODY_REFUSALS`, `NOT_NOW`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from attrs import frozen

JSON: Final = "application/json"
TEXT: Final = "text/plain"
FORM: Final = "application/x-www-form-urlencoded"


@frozen(kw_only=True)
class Parameter:
    """A header or query parameter."""

    name: str
    place: Literal["header", "query"]
    text: str
    is_required: bool = False
    max_length: int | None = None


@frozen(kw_only=True)
class Answer:
    """One kind of answer. `bodies`: for each media type a type that msgspec knows, or None for free text."""

    text: str
    bodies: Mapping[str, object]
    headers: Mapping[str, str] = {}


@frozen(kw_only=True)
class Operation:
    """One method of one path. `name` is unique.

    `body` is a type that msgspec knows, sent as JSON; `takes` names media
    types whose content somebody else defines.
    """

    name: str
    tag: str
    summary: str
    text: str = ""
    body: object = None
    takes: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    answers: Mapping[int, Answer]


def text_answer(text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer in plain text."""
    return Answer(text=text, bodies={TEXT: None}, headers=headers or {})


def json_answer(text: str, body: object, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer in JSON of the type `body`."""
    return Answer(text=text, bodies={JSON: body}, headers=headers or {})


#: What a route that takes a JSON body refuses.
BODY_REFUSALS: Final[Mapping[int, Answer]] = {
    400: text_answer("Not JSON, or a header that cannot be read."),
    413: text_answer("The body is larger than the listener's `request_body_limit`."),
    415: text_answer("Not called JSON, or an unknown Content-Encoding."),
    422: text_answer("JSON, but not such a request; the text has the path of the field."),
}
#: What a way in says when nothing is taken.
NOT_NOW: Final = text_answer("Nothing was taken; send it again later.", {"Retry-After": "Seconds to wait."})

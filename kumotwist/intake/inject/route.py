"""`POST /api/inject/v1`: KumoMTA's API for injecting mail, as HTTP has it. Public: `inject_route`."""

from __future__ import annotations

from typing import Final

from kumotwist.intake.http.origin import origin_of
from kumotwist.intake.http.refusals import refusals, require_json
from kumotwist.intake.inject.injection import Injection, InjectResult
from kumotwist.intake.inject.request import InjectRequest, decode
from kumotwist.net.operation import BODY_REFUSALS, NOT_NOW, Operation, json_answer, text_answer
from kumotwist.net.router import HttpRequest, Reply, Route, json_reply

_INJECT: Final = Operation(
    name="inject",
    tag="messages",
    summary="Injects mail to one or many recipients; KumoMTA's API.",
    text="Each recipient gets a message of its own, made from templates. 200 means that what was accepted is on disk.",
    body=InjectRequest,
    answers={
        **BODY_REFUSALS,
        200: json_answer("How many were accepted, and what became of each recipient.", InjectResult),
        500: text_answer("The envelope_sender is no address (as KumoMTA says it), or something is broken."),
        503: NOT_NOW,
    },
)


def inject_route(injection: Injection) -> Route:
    """`POST /api/inject/v1`."""

    async def handle(request: HttpRequest) -> Reply:
        require_json(request)
        with refusals():
            return json_reply(await injection.inject(decode(request.body), origin_of(request)))

    return Route("POST", "/api/inject/v1", handle, _INJECT)

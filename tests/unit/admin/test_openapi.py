"""`/api/openapi.json` describes what is served, and says it in valid OpenAPI."""

import json

import pytest
import pytest_twisted
from openapi_spec_validator import validate
from support.api_contract import Contract
from support.fakes_http import House, listen

from kumotwist.admin.openapi import document, with_document
from kumotwist.config.listener import HttpListenerConfig
from kumotwist.net.operation import Operation, json_answer, text_answer
from kumotwist.net.router import Route


@pytest.fixture
def served():
    """What a listener serves."""
    return House().routes(HttpListenerConfig())


def test_the_document_is_valid(served):
    """Any OpenAPI 3.1 tool can read it."""
    validate(json.loads(json.dumps(document(served))))


def test_the_validator_can_say_no(served):
    """A validator that takes everything would prove nothing."""
    broken = json.loads(json.dumps(document(served)))
    broken["paths"]["/api/send/v1"]["post"]["responses"]["200"]["content"]["application/json"]["schema"] = {
        "type": "no"
    }
    with pytest.raises(Exception, match="'no' is not valid"):
        validate(broken)


def test_every_route_is_in_it(served):
    """Nothing is served that the document is silent about."""
    described = document(served)["paths"]
    assert {(route.path, route.method.lower()) for route in served} == {
        (path, method) for path, methods in described.items() for method in methods
    }


def test_requests_say_what_they_need(served):
    """The schemas come from the types that read the bodies: unknown fields, limits and alternatives are in them."""
    schemas = document(served)["components"]["schemas"]
    send, address = schemas["SendRequest"], schemas["Address"]
    assert send["required"] == ["to"]
    assert send["additionalProperties"] is False
    assert send["properties"]["tenant"]["anyOf"][0]["maxLength"] == 128
    assert send["properties"]["to"]["anyOf"][0]["maxItems"] == 1000
    assert [one["required"] for one in send["properties"]["to"]["anyOf"][0]["items"]["oneOf"]] == [
        [name] for name in ("email", "phone", "device_token", "web_push", "chat")
    ]
    assert set(address["properties"]) == {"email", "name", "phone", "device_token", "web_push", "chat", "platform"}


def test_answers_have_all_of_their_fields(served):
    """A generated client need not ask whether a field of an answer is there."""
    schemas = document(served)["components"]["schemas"]
    assert schemas["SendResult"]["required"] == ["accepted", "failed", "recipients"]
    assert schemas["SentRecipient"]["required"] == ["to", "id", "error"]
    assert schemas["InjectResult"]["required"][-1] == "ids"


@pytest_twisted.ensureDeferred
async def test_it_is_served():
    """Trusted clients get it as JSON; for strangers it is closed, as the API is."""
    house = House()
    peer = listen(house)
    try:
        answer = await peer.request("GET", "/api/openapi.json")
    finally:
        await peer.close()
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["openapi"] == "3.1.0"
    assert answer.json() == peer.contract.document


async def _serve(_):
    raise AssertionError


def test_two_operations_need_two_names():
    """A name that is there twice would give a client two functions of that name."""
    one = Operation(name="x", tag="t", summary="s", answers={})
    with pytest.raises(ValueError, match="two operations have one name"):
        with_document((Route("GET", "/a", _serve, one), Route("GET", "/b", _serve, one)))


def test_no_route_is_silent():
    """A route that says nothing of itself is found when the listener is made, not when somebody misses it."""
    with pytest.raises(ValueError, match="routes that say nothing of themselves: /a"):
        with_document((Route("GET", "/a", _serve),))


def test_what_judges_for_itself_needs_no_password_of_ours():
    """Providers prove themselves in ways of their own; the document asks them for nothing else."""
    one = Operation(name="x", tag="t", summary="s", takes=("application/json",), answers={})
    described = document((Route("POST", "/a", _serve, one, is_guarded=False),))["paths"]["/a"]["post"]
    assert described["security"] == []
    assert described["requestBody"] == {"content": {"application/json": {"schema": {}}}}


def test_the_contract_can_say_no():
    """Replies that are not announced are found: status, media type, body."""
    answers = {200: json_answer("ok", list[int]), 409: text_answer("no")}
    contract = Contract([Route("GET", "/a", _serve, Operation(name="a", tag="t", summary="s", answers=answers))])
    contract.check("GET", "/a", 200, "application/json", b"[1]")
    for code, kind, body, why in (
        (418, "text/plain", b"", "not announced"),
        (200, "text/plain", b"", "announced are"),
        (200, "application/json", b'["1"]', "is not of type"),
    ):
        with pytest.raises(AssertionError, match=why):
            contract.check("GET", "/a", code, kind, body)

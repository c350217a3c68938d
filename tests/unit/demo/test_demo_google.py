"""The stand-in for Google: access tokens for service accounts, and FCM's answers."""

import json

import pytest

from kumotwist.demo.google import GONE
from kumotwist.demo.providers import Asked
from kumotwist.demo.standin_http import StandIn

PATH = "/v1/projects/shop/messages:send"
GRANT = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c"
AUTHORIZED = {"authorization": "Bearer ya29.stand-in", "content-type": "application/json"}


def ask(stand_in, message, headers=AUTHORIZED):
    return stand_in.answer("POST", PATH, Asked(headers, json.dumps({"message": message}).encode()))


def error_of(answered):
    return answered.status, answered.body["error"]["status"]


def test_a_token_and_a_notification():
    """The claim is exchanged for a token (RFC 7523), and with it a notification gets a name of the project's."""
    stand_in = StandIn()
    token = stand_in.answer("POST", "/token", Asked({}, GRANT.encode())).body
    assert token["token_type"] == "Bearer"
    answered = ask(
        stand_in,
        {"token": "t", "notification": {"title": "Hi", "body": "there"}},
        {"authorization": f"Bearer {token['access_token']}"},
    )
    assert answered.status == 200
    assert answered.body["name"].startswith("projects/shop/messages/0:")
    assert stand_in.counts == {"requests": 2, "accepted": 1, "failed": 0, "refused": 0}


def test_a_dead_token():
    """UNREGISTERED with 404: the application should forget the token."""
    answered = ask(StandIn(), {"token": "t" + GONE, "data": {"a": "b"}})
    assert error_of(answered) == (404, "NOT_FOUND")
    assert answered.body["error"]["details"][0]["errorCode"] == "UNREGISTERED"


@pytest.mark.parametrize("message", [None, {}, {"notification": {}}, {"token": "t"}, {"token": 7, "notification": {}}])
def test_what_is_no_message(message):
    """INVALID_ARGUMENT with 400."""
    assert error_of(ask(StandIn(), message)) == (400, "INVALID_ARGUMENT")


def test_without_a_token():
    """401, and no token without a signed claim."""
    assert error_of(ask(StandIn(), {"token": "t", "data": {}}, {})) == (401, "UNAUTHENTICATED")
    assert StandIn().answer("POST", "/token", Asked({}, b"grant_type=password")).status == 400


def test_it_fails_a_little():
    """Only with what passes: throttled with Retry-After, unavailable, internal."""
    stand_in = StandIn(share=1.0)
    found = [ask(stand_in, {"token": "t", "data": {}}) for _ in range(5)]
    assert {one.status for one in found} == {429, 500, 503}
    assert all(one.headers["Retry-After"] == "1" for one in found if one.status == 429)

"""Routes, and bodies inflated within a limit."""

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.net.inflate import inflate
from kumotwist.net.router import HttpError, Route, Router, json_reply, text_reply


async def one(_):
    return text_reply(200, "one")


async def two(_):
    return json_reply({"a": 1})


def test_routes_are_found_by_method_and_path():
    """HEAD is served by GET; a wrong method says which are right; an unknown path is 404."""
    router = Router([Route("GET", "/a", one), Route("POST", "/a", two)])
    assert router.find("GET", "/a") is router.find("HEAD", "/a") is one
    assert router.find("POST", "/a") is two
    with pytest.raises(HttpError, match="405 /a takes GET, POST, not PUT") as caught:
        router.find("PUT", "/a")
    assert caught.value.headers == {"Allow": "GET, POST"}
    with pytest.raises(HttpError, match="404"):
        router.find("GET", "/a/")


def test_calls_that_kumomta_has():
    """Whoever comes with `kcli` hears that the call is not there, not that it was written wrongly."""
    with pytest.raises(HttpError, match="404 /api/admin/suspend/v1 is known to KumoMTA but not supported"):
        Router([]).find("POST", "/api/admin/suspend/v1")
    with pytest.raises(HttpError, match="404 there is nothing at /api/admin/suspends/v1"):
        Router([]).find("POST", "/api/admin/suspends/v1")


def test_two_handlers_for_one_route_are_a_defect():
    """A table that contradicts itself is refused when it is made."""
    with pytest.raises(ValueError, match="two handlers for GET /a"):
        Router([Route("GET", "/a", one), Route("GET", "/a", two)])


@given(st.binary(max_size=2000), st.sampled_from([("gzip", gzip.compress), ("deflate", zlib.compress)]))
def test_inflating_gives_what_was_packed(data, coding):
    """Up to the limit exactly; one octet more is 413."""
    name, pack = coding
    assert inflate(pack(data), name, len(data)) == data
    if data:
        with pytest.raises(HttpError, match="413"):
            inflate(pack(data), name, len(data) - 1)


@given(st.binary(max_size=500), st.sampled_from(["gzip", "deflate"]))
def test_damaged_data_is_an_http_error(data, name):
    """Whatever comes, it is inflated or refused."""
    with contextlib.suppress(HttpError):
        assert len(inflate(data, name, 1000)) <= 1000

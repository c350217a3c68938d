"""kumo.http as a policy uses it, against a real web server."""

from contextlib import asynccontextmanager
from email import message_from_bytes

import pytest
from pytest_twisted import ensureDeferred
from support.luabox import LuaBox
from support.webpeer import authority, turn, web_peer
from twisted.internet import reactor

from kumotwist.core.address import EnvelopeAddress, parse_address
from kumotwist.core.errors import PolicyError
from kumotwist.lua.address import ENVELOPE_ADDRESS
from kumotwist.lua.lib.http import HttpLibrary
from kumotwist.net.http import HttpTransports


@asynccontextmanager
async def policy(trust_root=None):
    transports = HttpTransports(reactor, trust_root)
    try:
        yield LuaBox(HttpLibrary(transports), classes={EnvelopeAddress: ENVELOPE_ADDRESS})
    finally:
        await transports.close()
        await turn()


@ensureDeferred
async def test_a_chain_of_calls_makes_a_request():
    """The style of KumoMTA's documentation works: every method returns the request."""
    async with web_peer() as peer, policy() as box:
        peer.answer("/send", 202, b'{"ok":true}', X_Message_Id="abc", Content_Type="application/json")
        result = await box.run(
            """
            local url = ...
            local client = kumo.http.build_client { user_agent = 'policy/1', timeout = '10s' }
            local response = client:post(url)
              :header('Content-Type', 'application/json')
              :headers { ['X-One'] = '1', ['X-Two'] = 2 }
              :bearer_auth('t0ken'):timeout(30):timeout('30 seconds'):timeout(1.5)
              :body('{"a":1}')
              :send()
            local names = {}
            for name, value in pairs(response:headers()) do names[name] = value end
            assert(names['x-message-id'] == 'abc')
            assert(response:headers()['X-MESSAGE-ID'] == 'abc' and response:headers()['none'] == nil)
            assert(response:status_is_success() and not response:status_is_client_error())
            assert(not response:status_is_informational() and not response:status_is_redirection())
            assert(not response:status_is_server_error())
            assert(response:content_length() == 11 and response:bytes() == response:text())
            return response:status_code(), response:status_reason(), response:text()
            """,
            peer.url + "/send",
        )
        assert result == (202, "Accepted", '{"ok":true}')
        (seen,) = peer.seen
        assert (seen.method, seen.body) == ("POST", b'{"a":1}')
        assert [seen.header(name) for name in ("authorization", "x-one", "x-two", "user-agent", "content-type")] == [
            "Bearer t0ken",
            "1",
            "2",
            "policy/1",
            "application/json",
        ]


@ensureDeferred
async def test_forms():
    """The Mailgun way: basic auth, text fields, a recipient, the message as a file; and the simple form."""
    async with web_peer() as peer, policy() as box:
        peer.answer("/", 200)
        await box.run(
            r"""
            local url, address = ...
            local client = kumo.http.build_client()
            client:post(url):basic_auth('api', 'key'):form_multipart_data {
              to = 'user@example.com',
              message = { data = 'Subject: x\r\n\r\n\xff\0', file_name = 'mime.msg' },
              raw = '\xfe',
              address = address,
            }:send()
            client:put(url):basic_auth('user'):form_url_encoded { a = 'b c', n = 1 }:send()
            client:get(url):send()
            client:close()
            """,
            peer.url + "/",
            parse_address("bob@example.org"),
        )
        multipart, simple, plain = peer.seen
        assert multipart.header("authorization") == "Basic YXBpOmtleQ=="
        form = message_from_bytes(f"Content-Type: {multipart.header('content-type')}\r\n\r\n".encode() + multipart.body)
        parts = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}
        assert parts["to"].get_payload() == "user@example.com"
        assert parts["address"].get_payload() == "bob@example.org"
        assert parts["message"].get_filename() == "mime.msg"
        assert parts["message"].get_payload(decode=True) == b"Subject: x\r\n\r\n\xff\0"
        assert parts["raw"].get_content_type() == "application/octet-stream"
        assert parts["raw"].get_payload(decode=True) == b"\xfe"
        assert simple.method == "PUT"
        assert sorted(simple.body.split(b"&")) == [b"a=b+c", b"n=1"]
        assert simple.header("content-type") == "application/x-www-form-urlencoded"
        assert simple.header("authorization") == "Basic dXNlcjo="
        assert plain.method == "GET"


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"\xc3\xbc", None, "ü"),
        (b"\xfc", "text/plain; charset=iso-8859-1", "ü"),
        (b"\xef\xbb\xbf\xc3\xbc", "text/plain; charset=latin-1", "ü"),
        (b"\xff\xfe\xfc\x00", None, "ü"),
        (b"a\xff", None, "a\ufffd"),
        (b"a", "text/plain; charset=nonsense", "a"),
    ],
)
@ensureDeferred
async def test_text_is_decoded(body, content_type, text):
    """A byte order mark, the charset, UTF-8: in this order; broken bytes become U+FFFD."""
    async with web_peer() as peer, policy() as box:
        peer.answer("/", 200, body, **({"Content_Type": content_type} if content_type else {}))
        assert await box.run("return kumo.http.build_client({}):get(...):send():text()", peer.url + "/") == text


@ensureDeferred
async def test_a_request_is_sent_once():
    """A second `send` of the same request is an error, not a second message."""
    async with web_peer() as peer, policy() as box:
        peer.answer("/", 200)
        source = "local r = kumo.http.build_client({}):get(...); r:send(); r:send()"
        with pytest.raises(PolicyError, match="sent already"):
            await box.run(source, peer.url + "/")
        assert len(peer.seen) == 1


@ensureDeferred
async def test_pcall_catches_a_refused_connection():
    """A transport error is a plain Lua error, which a policy can catch and go on from."""
    async with policy() as box:
        caught = await box.run(
            "return pcall(function() return kumo.http.build_client({}):get('http://127.0.0.1:1/'):send() end)"
        )
        assert caught[0] is False
        assert "GET http://127.0.0.1:1/: cannot connect" in caught[1]


@ensureDeferred
async def test_invalid_certificates():
    """Certificates count unless the client says that they do not."""
    _, options = authority("elsewhere.example")
    async with web_peer(options) as peer, policy() as box:
        peer.answer("/", 200, b"x")
        send = "return kumo.http.build_client { accept_invalid_certs = %s }:get(...):send():text()"
        assert await box.run(send % "true", peer.url + "/") == "x"
        with pytest.raises(PolicyError, match="certificate"):
            await box.run(send % "false", peer.url + "/")


@pytest.mark.parametrize(
    ("lua", "text"),
    [
        ("kumo.http.build_client { timout = 5 }", "kumo.http.build_client: .*timout.*did you mean 'timeout'"),
        ("kumo.http.build_client { timeout = 'soon' }", "option 'timeout'"),
        ("kumo.http.build_client({}):post ''", "not an http or https URL: ''"),
        ("kumo.http.build_client({}):post()", "wrong number of arguments: http client:post"),
        ("kumo.http.build_client({}):get('http://a/'):header('X\\nY', 'z')", "not a header name"),
        ("kumo.http.build_client({}):get('http://a/'):header('X', 'a\\nB: c')", "header X has a line break"),
        ("kumo.http.build_client({}):get('http://a/'):timeout('x')", "timeout: 'x' is not a duration"),
        ("kumo.http.build_client({}):get('http://a/'):body({})", "body must be a string, got a table"),
        ("kumo.http.build_client({}):get('http://a/'):form_multipart_data { a = {} }", "a.data must be a string"),
        (
            "kumo.http.build_client({}):get('http://a/'):form_multipart_data { a = { data = 'x', filename = 'y' } }",
            "a: unknown key 'filename'",
        ),
        ("(function() local c = kumo.http.build_client({}); c:close(); c:get('http://a/') end)()", "has been closed"),
    ],
)
@ensureDeferred
async def test_mistakes_are_told_in_words(lua, text):
    """Each mistake names what is wrong."""
    async with policy() as box:
        with pytest.raises(PolicyError, match=text):
            await box.run(f"return {lua}")


@ensureDeferred
async def test_credentials_are_not_shown():
    """A broken token is refused without printing it."""
    async with policy() as box:
        with pytest.raises(PolicyError, match="credentials have a line break") as caught:
            await box.run("kumo.http.build_client({}):get('http://a/'):bearer_auth('s3cret\\n')")
        assert "s3cret" not in str(caught.value)


@ensureDeferred
async def test_build_url():
    """Parameters are added behind those that are there, encoded."""
    async with policy() as box:
        await box.run("""
        local build = kumo.http.build_url
        assert(build('https://example.com/?existing=value', { a = 1, b = 2 })
          == 'https://example.com/?existing=value&a=1&b=2')
        assert(build('https://example.com/', { q = 'a&b ü' }) == 'https://example.com/?q=a%26b+%C3%BC')
        assert(build('https://example.com/#frag', { a = 1 }) == 'https://example.com/?a=1#frag')
        assert(build('https://example.com/', {}) == 'https://example.com/')
        """)

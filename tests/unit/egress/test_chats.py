"""Chat services: whose URL it is, what is never shown, and where a post goes."""

import json

import pytest
import pytest_twisted
from support.fakes_egress import make_channels, make_message, make_request
from support.webpeer import turn, web_peer
from twisted.internet import reactor

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.option import Duration
from kumotwist.config.translate import ChatWordsOptions
from kumotwist.core.errors import ConfigError
from kumotwist.core.outcome import Scope, Verdict
from kumotwist.egress.api.dialect import Unreadable
from kumotwist.egress.chat.discord import DiscordOptions
from kumotwist.egress.chat.slack import SlackOptions
from kumotwist.egress.chat.teams import TeamsOptions
from kumotwist.egress.chat.telegram import TelegramOptions
from kumotwist.egress.protocols import protocol
from kumotwist.net.http import HttpResponse, HttpTransports

HOOKS = (DiscordOptions, SlackOptions, TeamsOptions)
YES = {DiscordOptions: b'{"id": "1"}', SlackOptions: b"ok", TeamsOptions: b"1"}
S3CRET = "T0/B0/s3cret"


async def deliver(options, *messages):
    """The first outcome of each message."""
    transports = HttpTransports(reactor)
    session = make_channels(reactor, http=transports).channel_for(options).open(make_request())
    await session.connect()
    rows = await session.deliver(messages or [make_message()])
    await session.close()
    await transports.close()
    await turn()
    return [row[0] for row in rows]


def to(chat):
    return make_message("c0ffee@chat", meta={"to": {"chat": chat}})


@pytest.mark.parametrize("options", HOOKS)
@pytest_twisted.ensureDeferred
async def test_a_url_that_is_a_secret_is_in_no_record(options):
    """Not when nobody answers, not when nobody is there, not when it redirects, not when it is wrong."""
    async with web_peer() as peer:
        peer.answers[f"/{S3CRET}"] = lambda request: None
        full = LiteralKey(f"{peer.url}/{S3CRET}".encode())
        silent = (await deliver(options(webhook=full, timeout=Duration(0.2))))[0]
        away = (await deliver(options(webhook=LiteralKey(f"http://127.0.0.1:9/{S3CRET}".encode()))))[0]
        peer.answer(f"/{S3CRET}", 302, Location=f"{peer.url}/{S3CRET}/more")
        moved = (await deliver(options(webhook=full)))[0]
        wrong = (await deliver(options(webhook=LiteralKey(f"ftp://{S3CRET}".encode()))))[0]
        port = (await deliver(options(webhook=LiteralKey(b"https://a.test:s3cret/x"))))[0]
    for outcome in (silent, away, moved, wrong, port):
        assert outcome.verdict is Verdict.TRANSIENT
        assert "s3cret" not in outcome.response.content, outcome
    assert wrong.scope is Scope.SOURCE


@pytest.mark.parametrize("options", HOOKS)
@pytest_twisted.ensureDeferred
async def test_a_page_that_quotes_the_url_is_not_repeated(options):
    """As many a server's 404 does: the record has the words, and stars where the secret stood."""
    async with web_peer() as peer:
        peer.answer(f"/{S3CRET}", 404, f"<p>/{S3CRET} was not found on this server".encode())
        (ours,) = await deliver(options(webhook=LiteralKey(f"{peer.url}/{S3CRET}".encode())))
        (theirs,) = await deliver(options(allow_private_addresses=True), to(f"{peer.url}/{S3CRET}"))
    for outcome in (ours, theirs):
        assert "/*** was not found on this server" in outcome.response.content


@pytest_twisted.ensureDeferred
async def test_the_token_of_a_bot_is_in_no_record():
    """Telegram's stands in the path of each request."""
    async with web_peer() as peer:
        peer.answers["/bot1:s3cret/sendMessage"] = lambda request: None
        token = LiteralKey(b"1:s3cret")
        (silent,) = await deliver(TelegramOptions(token=token, base_url=peer.url, timeout=Duration(0.2)), to("1"))
        (away,) = await deliver(TelegramOptions(token=token, base_url="http://127.0.0.1:9"), to("1"))
        (wrong,) = await deliver(TelegramOptions(token=LiteralKey(b"s3cret/../x"), base_url=peer.url), to("1"))
    for outcome in (silent, away, wrong):
        assert outcome.verdict is Verdict.TRANSIENT
        assert "s3cret" not in outcome.response.content
    assert wrong.scope is Scope.SOURCE


@pytest.mark.parametrize("options", HOOKS)
@pytest.mark.parametrize("chat", ["http://169.254.169.254/latest", "http://localhost:9/x", "http://[::1]:9/"])
@pytest_twisted.ensureDeferred
async def test_a_url_that_a_message_names_cannot_reach_our_network(options, chat):
    """Without a webhook of the operator's, each message names one, and it has to be public."""
    (outcome,) = await deliver(options(), to(chat))
    assert outcome.verdict is Verdict.PERMANENT
    assert "nowhere to post: the chat is a URL that is not on the public Internet" in outcome.response.content


@pytest.mark.parametrize("options", HOOKS)
@pytest_twisted.ensureDeferred
async def test_what_a_messages_url_refuses_concerns_that_message_only(options):
    """Gone: the application hears of it. Throttled or forbidden: that message waits. Nobody else does."""
    gone = {DiscordOptions: b'{"code": 10015}', SlackOptions: b"no_service", TeamsOptions: b""}[options]
    verdicts = {}
    async with web_peer() as peer:
        for code, body in ((200, YES[options]), (404, gone), (429, b""), (403, b"<html>blocked</html>"), (500, b"")):
            peer.answer(f"/{code}", code, body)
            (outcome,) = await deliver(options(allow_private_addresses=True), to(f"{peer.url}/{code}"))
            verdicts[code] = (outcome.verdict, outcome.scope, outcome.is_address_dead)
            assert outcome.peer.name == peer.url.removeprefix("http://")
    assert verdicts == {
        200: (Verdict.DELIVERED, Scope.MESSAGE, False),
        404: (Verdict.PERMANENT, Scope.MESSAGE, True),
        429: (Verdict.TRANSIENT, Scope.MESSAGE, False),
        403: (Verdict.TRANSIENT, Scope.MESSAGE, False),
        500: (Verdict.TRANSIENT, Scope.MESSAGE, False),
    }


@pytest.mark.parametrize("options", HOOKS)
@pytest_twisted.ensureDeferred
async def test_a_chat_that_is_no_url_bounces_its_message(options):
    """And says so."""
    (outcome,) = await deliver(options(), to("#general"))
    assert outcome.verdict is Verdict.PERMANENT
    assert "nowhere to post" in outcome.response.content


@pytest_twisted.ensureDeferred
async def test_a_post_goes_where_the_message_says_or_the_option():
    """The message's own chat first; the option `chat` when it names none."""
    async with web_peer() as peer:
        peer.answer("/api/chat.postMessage", 200, b'{"ok": true, "channel": "C1", "ts": "1.2"}')
        options = SlackOptions(
            base_url=f"{peer.url}/api", token=LiteralKey(b"xoxb-1"), chat="#ops", to_meta="room", to_header="X-Room"
        )
        await deliver(options, to("C42"))
        await deliver(options, make_message("ann@example.org"))
        await deliver(options, make_message("ann@example.org", meta={"room": "C43"}))
        await deliver(options, make_message("ann@example.org", body=b"X-Room: C44\r\n\r\nhi\r\n"))
        assert [json.loads(seen.body)["channel"] for seen in peer.seen] == ["C42", "#ops", "C43", "C44"]


@pytest_twisted.ensureDeferred
async def test_the_words_are_chosen_by_the_table_text():
    """As with `message:as_chat`."""
    async with web_peer() as peer:
        peer.answer("/hook", 204)
        options = DiscordOptions(
            webhook=LiteralKey(f"{peer.url}/hook".encode()), text=ChatWordsOptions(subject=False, max_characters=9)
        )
        (outcome,) = await deliver(options, make_message(body=b"Subject: no\r\n\r\nword by word\r\n"))
        assert outcome.verdict is Verdict.DELIVERED
        assert b'"content":"word by\xe2\x80\xa6"' in peer.seen[0].body


def test_slack_is_spoken_to_in_one_way():
    """A token and a webhook at once is a mistake in the policy."""
    with pytest.raises(ConfigError, match="must have either"):
        protocol({"slack": {"token": "/etc/token", "webhook": "/etc/hook"}}, "test")


@pytest.mark.parametrize("options", HOOKS)
@pytest_twisted.ensureDeferred
async def test_who_waits_for_a_strangers_server_is_in_nobodys_way(options):
    """URLs that messages name are as many sites as the queues have domains; the operator's is one."""
    channels = make_channels(reactor)
    theirs, ours = channels.channel_for(options()), channels.channel_for(options(webhook=LiteralKey(b"x")))
    assert await theirs.site_name("customer-7.chat") == "customer-7.chat"
    assert await ours.site_name("customer-7.chat") == ours.peer.name != "customer-7.chat"


def classified(options, code, body, **headers):
    """What the channel makes of a reply to a post to the operator's webhook."""
    dialect = make_channels(reactor).channel_for(options(webhook=LiteralKey(b"x"))).dialect
    (call,) = dialect.plan([make_message()], 0.0)
    (outcome,) = dialect.classify(
        call, HttpResponse(code, [(k.replace("_", "-"), v) for k, v in headers.items()], body)
    )
    return outcome


@pytest.mark.parametrize(
    ("options", "code", "body", "headers"),
    [
        (SlackOptions, 200, b"ok", {"Content_Type": "text/html"}),  # Slack's own
        (SlackOptions, 200, b"ok\n", {"Content_Type": "text/plain"}),  # Mattermost's
        (SlackOptions, 200, b'{"success":true}', {}),  # Rocket.Chat's
        (SlackOptions, 200, b'{"ok":true}', {}),  # triggers of Slack's workflows
        (SlackOptions, 200, b'{"result":"success","msg":""}\n', {}),  # Zulip's before 10
        (SlackOptions, 200, b'{"result":"success","msg":"","ok":true}', {}),  # Zulip's
        (DiscordOptions, 200, b'{"id": "1101"}', {}),
        (DiscordOptions, 204, b"", {}),
        (TeamsOptions, 202, b"", {"x_ms_workflow_run_id": "0858"}),
        (TeamsOptions, 202, b"", {}),
        (TeamsOptions, 200, b'{"thanks": "a lot"}', {"x_ms_workflow_run_id": "0858"}),  # a workflow with an answer
        (TeamsOptions, 200, b"a card: it returned HTTP error 429", {"x_ms_workflow_run_id": "0858"}),
        (TeamsOptions, 200, b"1", {}),  # a connector
    ],
)
def test_each_form_of_yes_is_one(options, code, body, headers):
    """Services and those that speak as they do answer differently; a post that was made is not made again."""
    assert classified(options, code, body, **headers).verdict is Verdict.DELIVERED


@pytest.mark.parametrize(
    ("options", "code", "body"),
    [
        (SlackOptions, 200, b"Welcome"),
        (SlackOptions, 200, b'{"ok": "true"}'),
        (SlackOptions, 200, b"null"),
        (SlackOptions, 200, b""),  # nobody's who is known
        (SlackOptions, 204, b""),
        (SlackOptions, 200, b'{"result":"error","msg":"Malformed payload"}'),
        (SlackOptions, 200, b'{"success":false}'),
        (DiscordOptions, 200, b'{"message": "hi"}'),
        (TeamsOptions, 200, b""),
        (TeamsOptions, 200, b'{"thanks": "a lot"}'),
        (TeamsOptions, 202, b"<html>queued"),
    ],
)
def test_what_is_no_form_of_yes_is_none(options, code, body):
    """Nobody knows what became of the post: `on_unknown` decides."""
    with pytest.raises(Unreadable):
        classified(options, code, body)


@pytest.mark.parametrize(
    ("status", "verdict", "scope"),
    [
        (413, Verdict.PERMANENT, Scope.MESSAGE),
        (404, Verdict.TRANSIENT, Scope.SOURCE),
        (429, Verdict.TRANSIENT, Scope.SOURCE),
        (502, Verdict.TRANSIENT, Scope.MESSAGE),
    ],
)
def test_a_connectors_refusal_under_200_is_one(status, verdict, scope):
    """Old Teams connectors say 200 whatever happens: https://github.com/MicrosoftDocs/msteams-docs/issues/1810."""
    body = f"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {status} with X.."
    outcome = classified(TeamsOptions, 200, body.encode())
    assert (outcome.verdict, outcome.scope) == (verdict, scope)
    assert body in outcome.response.content


def test_an_error_of_slacks_under_200_is_one():
    """As those who speak as Slack does may put it."""
    for body in (b"no_service", b'{"ok":false,"error":"no_service"}'):
        outcome = classified(SlackOptions, 200, body)
        assert (outcome.verdict, outcome.scope) == (Verdict.TRANSIENT, Scope.SOURCE)
        assert "no_service" in outcome.response.content

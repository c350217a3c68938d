"""The channel `kannel` against the real Kannel, which hands its texts to an SMS centre."""

from __future__ import annotations

import time
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_twisted
from support.fakes_egress import make_channels, make_message, make_request
from support.kannel import Kannel, needs_kannel
from support.smsc import Smsc
from support.webpeer import turn, web_peer
from twisted.internet import reactor

from kumotwist.config.keysource import LiteralKey
from kumotwist.core.outcome import Scope, Verdict
from kumotwist.egress.sms.kannel import KannelOptions
from kumotwist.net.http import HttpTransports
from kumotwist.proto.sms import gsm, udh

pytestmark = needs_kannel
PASSWORD = "s3cret"


@pytest.fixture(scope="module")
def centre():
    with Smsc("rust", receipts="held") as smsc:
        yield smsc


@pytest.fixture(scope="module")
def kannel(centre, tmp_path_factory):
    with Kannel(tmp_path_factory.mktemp("kannel"), centre.port, PASSWORD) as gateway:
        yield gateway


async def until(check):
    """Wait for something to come true while the reactor runs."""
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline
        await turn(0.05)


async def deliver(kannel, words, password=PASSWORD, **more):
    transports = HttpTransports(reactor)
    options = KannelOptions(
        **{
            "base_url": kannel.url,
            "username": "me",
            "password": LiteralKey(password.encode()),
            "sender": "12345",
            **more,
        }
    )
    session = make_channels(reactor, http=transports).channel_for(options).open(make_request())
    await session.connect()
    body = f"Content-Type: text/plain; charset=utf-8\r\n\r\n{words}\r\n".encode()
    message = make_message("+4930123456@sms", body=body)
    ((outcome,),) = await session.deliver([message])
    await session.close()
    await transports.close()
    await turn()
    return message, outcome


async def received(centre, count):
    """What the centre got: texts, without the header that joins parts."""
    seen = []
    await until(lambda: len(seen) >= count or seen.extend(centre.submitted()))
    texts = {}
    for one in seen:
        octets, place = bytes.fromhex(one["text"]), None
        if one["esm_class"] & 0x40:
            place, octets = udh.parse(octets)
        words = octets.decode("utf-16-be") if one["data_coding"] == 8 else gsm.decode(octets)
        texts[place.sequence if place else 1] = words
    assert {one["destination"] for one in seen} == {"4930123456"}
    return [words for _, words in sorted(texts.items())]


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("words", ["Hello [you], that is 5 €", "Grüße & 100 % = ½ 😀", "+ % = a&b"])
@pytest_twisted.ensureDeferred
async def test_every_character_arrives(kannel, centre, method, words):
    """Brackets, the euro sign, emoji, and what URLs are made of: the centre gets what the message said."""
    _, outcome = await deliver(kannel, words, method=method)
    assert outcome.verdict is Verdict.DELIVERED, outcome
    assert outcome.response.content.startswith("202 Accepted: ")
    assert await received(centre, 1) == [words]


@pytest_twisted.ensureDeferred
async def test_a_long_text_goes_in_the_parts_that_we_counted(kannel, centre):
    """`parts` of the record is what Kannel makes of the text."""
    words = "Your parcel arrives tomorrow between nine and ten. " * 8
    _, outcome = await deliver(kannel, words)
    assert outcome.parts == 3
    assert "".join(await received(centre, 3)) == words.strip()


@pytest_twisted.ensureDeferred
async def test_a_kannel_that_answers_at_once_says_yes_in_other_words(centre, tmp_path):
    """`immediate-sendsms-reply`: `Sent.`, and the text arrives once."""
    with Kannel(tmp_path, centre.port, PASSWORD, at_once=True) as hasty:
        _, outcome = await deliver(hasty, "at once")
        assert outcome.verdict is Verdict.DELIVERED, outcome
        assert outcome.response.content == "202 Accepted: Sent."
        assert await received(centre, 1) == ["at once"]


@pytest_twisted.ensureDeferred
async def test_a_text_without_a_sender_waits_for_one(kannel):
    """Neither the message nor the policy nor Kannel names one: a line in the policy mends it, so nothing is bounced."""
    _, outcome = await deliver(kannel, "hi", sender=None)
    assert (outcome.verdict, outcome.scope) == (Verdict.TRANSIENT, Scope.MESSAGE), outcome
    assert "Sender missing" in outcome.response.content


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_rests_the_source(kannel):
    """Kannel's 403 for it bounces nothing."""
    _, outcome = await deliver(kannel, "hi", password="wrong")
    assert (outcome.verdict, outcome.scope) == (Verdict.TRANSIENT, Scope.SOURCE), outcome
    assert "Authorization failed" in outcome.response.content


@pytest_twisted.ensureDeferred
async def test_the_report_comes_to_our_url_with_our_id(kannel, centre):
    """`delivered`, with the number, the centre's id and the centre's time."""
    async with web_peer() as peer:
        peer.answer("/receipts/kannel/main", Connection="close")  # Kannel would keep it open beyond the test
        message, _ = await deliver(kannel, "report, please", status_url=f"{peer.url}/receipts/kannel/main")
        await until(kannel.awaited)
        centre.report()
        await until(lambda: peer.seen)
        (seen,) = peer.seen
    given = dict(parse_qsl(urlsplit(seen.uri).query, strict_parsing=True, keep_blank_values=True))
    assert given["kumo_id"] == message.id.hex()
    assert (given["type"], given["to"]) == ("1", "4930123456")
    assert given["smsid"].startswith("rust-")
    await received(centre, 1)

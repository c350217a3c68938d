"""Three providers behind one route table: a real daemon, one of them fails at full rate and recovers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from support.daemon import Daemon, eventually, mail
from support.provider_stand_in import Providers

POLICY = """
local kumo = require 'kumo'

kumo.on('init', function()
  kumo.start_esmtp_listener { listen = '127.0.0.1:0' }
  kumo.start_http_listener { listen = '127.0.0.1:0' }
  kumo.configure_local_logs { log_dir = os.getenv 'LOGS', max_segment_duration = '1 second' }
end)

kumo.on('get_queue_config', function()
  return kumo.make_queue_config { route_table = 'bulk', retry_interval = '1 second' }
end)

kumo.on('get_route_table', function(name)
  local function route(name, weight)
    local key = { key_data = 'k' }
    return { name = name, weight = weight, protocol = { sendgrid = { base_url = os.getenv(name), api_key = key } } }
  end
  return kumo.make_route_table {
    name = name,
    class = 'all',
    routes = { route('FIRST', 20), route('SECOND', 10), route('THIRD', 70) },
    learn = { half_life = '1 minute' },
    on_failure = 'next_route',
  }
end)
"""


NAMES = ("FIRST", "SECOND", "THIRD")


@contextmanager
def running(directory: Path) -> Iterator[dict[str, Providers]]:
    """Three providers, each of which may be replaced by another one on its port."""
    providers = {name: provider(directory, name) for name in NAMES}
    try:
        yield providers
    finally:
        for one in providers.values():
            one.process.popen.kill()
            one.process.wait(10)


def urls(providers: Mapping[str, Providers], directory: Path) -> dict[str, str]:
    """What the policy reads from its environment."""
    return {**{name: one.url for name, one in providers.items()}, "LOGS": str(directory / "log")}


class Feed:
    """Messages over one SMTP session, and which way each went."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.sent = 0

    def send(self, count: int) -> Counter[str]:
        """How `count` further messages were delivered, by route."""
        with self.daemon.smtp() as client:
            for number in range(self.sent, self.sent + count):
                client.sendmail("a@src.test", [f"u{number}@dest.test"], mail("hi"))
        before, self.sent = self.sent, self.sent + count
        delivered = self.daemon.wait_for_records("Delivery", self.sent)
        return Counter(record["route"] for record in delivered[before:])


def provider(directory: Path, name: str, *options: str) -> Providers:
    home = directory / f"{name}-{time.monotonic_ns()}"
    home.mkdir()
    return Providers(home, *options)


def changes(daemon: Daemon, what: str) -> list[dict[str, object]]:
    """RouteChange records of the table as a whole."""
    found = [
        one for one in daemon.records("RouteChange") if one["route_class"] == "" and one["route_change"]["what"] == what
    ]
    return sorted(found, key=lambda one: one["event_time"])


def test_a_provider_that_fails_is_left_and_found_again(tmp_path: Path) -> None:
    """Exact shares, then none for the one that fails, then its share again; nothing lost, each hop in the log."""
    with running(tmp_path) as providers:
        arguments = {"env": urls(providers, tmp_path), "workers": 0}
        with Daemon(tmp_path, POLICY, **arguments) as daemon:
            feed = Feed(daemon)
            assert feed.send(100) == {"FIRST": 20, "SECOND": 10, "THIRD": 70}
            providers["THIRD"] = replaced(providers["THIRD"], tmp_path, "--share", "1.0", "--failures", "503")
            failing = feed.send(100)
            assert failing["THIRD"] == 0
            assert failing["FIRST"] > failing["SECOND"] > 0
            assert len(daemon.records("TransientFailure")) <= 12, "the breaker needs four, its trials a few"
            opened = changes(daemon, "breaker")
            assert [(one["route"], one["route_change"]["after"]) for one in opened[:1]] == [("THIRD", "open")]
            before_restart = len(daemon.records("TransientFailure"))
        with Daemon(tmp_path, POLICY, **arguments) as daemon:
            feed = Feed(daemon)
            feed.sent = 200
            assert feed.send(50)["THIRD"] == 0, "a restart forgets nothing"
            assert len(daemon.records("TransientFailure")) <= before_restart + 3
            providers["THIRD"] = replaced(providers["THIRD"], tmp_path)
            recovered = eventually_back(feed)
            assert recovered, "its share comes back"
            assert changes(daemon, "breaker")[-1]["route_change"]["after"] == "closed"
            assert not daemon.records("Bounce", "Expiration")
            assert {record["num_attempts"] for record in daemon.records("Delivery")} == {0}


def test_a_provider_whose_account_is_empty_holds_no_mail(tmp_path: Path) -> None:
    """It answers 401: its share goes by the others at once, workers and restarts included, and is back with the key."""
    policy = POLICY.replace("on_failure = 'next_route'", "on_failure = 'retry'")
    policy = policy.replace("api_key = key }", "api_key = key, rest = '15 seconds' }")
    with running(tmp_path) as providers:
        arguments = {"env": urls(providers, tmp_path), "workers": 2}
        with Daemon(tmp_path, policy, **arguments) as daemon:
            feed = Feed(daemon)
            assert feed.send(100)["THIRD"] == 70
            providers["THIRD"] = replaced(providers["THIRD"], tmp_path, "--key", "another")
            began = time.monotonic()
            assert feed.send(100)["THIRD"] == 0
            assert time.monotonic() - began < 14, "nothing has waited for the rest"
            (opened, *_) = eventually(lambda: changes(daemon, "breaker"), "a record of the breaker")
            assert (opened["route"], opened["route_change"]["after"]) == ("THIRD", "open")
            assert opened["route_change"]["evidence"].startswith("the account rests until 20")
            assert "401" in opened["route_change"]["evidence"]
            failed = len(daemon.records("TransientFailure"))
            assert failed <= 20, "what was on the wire at the time"
        with Daemon(tmp_path, policy, **arguments) as daemon:
            feed = Feed(daemon)
            feed.sent = 200
            assert feed.send(50)["THIRD"] == 0, "a restart forgets nothing"
            providers["THIRD"] = replaced(providers["THIRD"], tmp_path)
            assert eventually_back(feed), "its share comes back"
            # Of several workers one tells, up to a second later.
            eventually(lambda: changes(daemon, "breaker")[-1]["route_change"]["after"] == "closed", "a closed breaker")
            assert not daemon.records("Bounce", "Expiration", "Delayed")
            assert {record["num_attempts"] for record in daemon.records("Delivery")} == {0}


def test_an_outage_of_all_providers_moves_no_share(tmp_path: Path) -> None:
    """All fail under `retry` and are back one after another: nothing is lost, and shares rest all the while."""
    retrying = POLICY.replace("on_failure = 'next_route'", "on_failure = 'retry'")
    with (
        running(tmp_path) as providers,
        Daemon(tmp_path, retrying, env=urls(providers, tmp_path), workers=2) as daemon,
    ):
        feed = Feed(daemon)
        feed.send(100)
        for name in NAMES:
            providers[name] = replaced(providers[name], tmp_path, "--share", "1.0", "--failures", "503")
        with daemon.smtp() as client:
            for number in range(100, 200):
                client.sendmail("a@src.test", [f"u{number}@dest.test"], mail("hi"))
        eventually(lambda: len(changes(daemon, "outage")) >= 1, "an outage of all routes", timeout=60)
        eventually(lambda: len(daemon.records("TransientFailure")) >= 120, "some tried again", timeout=60)
        for name in NAMES:
            providers[name] = replaced(providers[name], tmp_path)
        feed.sent = 200
        feed.send(100)
        delivered = daemon.wait_for_records("Delivery", 300)
        assert len({record["id"] for record in delivered}) == len(delivered) == 300
        assert not daemon.records("Bounce", "Expiration")
        feed.send(100)
        assert not changes(daemon, "share"), "nobody is to blame"
        assert changes(daemon, "outage")[-1]["route_change"]["after"] == "no"


def test_a_move_is_told_by_one_of_the_workers(tmp_path: Path) -> None:
    """Each record of a share begins where the one before it ended, whichever of two workers has written it."""
    learning = POLICY.replace("half_life = '1 minute'", "half_life = '1 minute', min_samples = 10")
    with (
        running(tmp_path) as providers,
        Daemon(tmp_path, learning, env=urls(providers, tmp_path), workers=2) as daemon,
    ):
        feed = Feed(daemon)
        for _ in range(4):
            feed.send(50)
        providers["THIRD"] = replaced(providers["THIRD"], tmp_path, "--share", "0.4", "--failures", "503")
        for _ in range(8):
            feed.send(25)
        eventually(lambda: len(changes(daemon, "share")) >= 3, "shares that move", timeout=60)
        for name in NAMES:
            told = [one["route_change"] for one in changes(daemon, "share") if one["route"] == name]
            ends = [one["after"] for one in told]
            assert [one["before"] for one in told[1:]] == ends[:-1], told
        heard = [one for one in daemon.records("RouteChange") if "has opened it" in one["response"]["content"]]
        assert heard == [], "whoever follows another worker is silent"


def replaced(old: Providers, directory: Path, *options: str) -> Providers:
    """Another provider in the place of `old`, on its port."""
    old.process.popen.kill()
    old.process.wait(10)
    return provider(directory, "again", "--listen", old.url.removeprefix("http://"), *options)


def eventually_back(feed: Feed) -> bool:
    """Whether the third route gets half of fifty messages, within five minutes.

    Mostly within seconds. The breaker pauses for 2, 8, 32 and 128 seconds: on a busy machine it may be in the last one.
    """
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if feed.send(50)["THIRD"] >= 25:
            return True
    return False

"""Machines that share limits through Redis, each a daemon of its own under one policy."""

from __future__ import annotations

import smtplib
from pathlib import Path

import pytest
from support.daemon import Daemon, Sink, eventually, mail
from support.lua import Bench, now
from support.redisserver import RedisServer

from kumotwist.core.errors import PolicyError

POLICY = Path(__file__).parent / "whole" / "cluster.lua"


def machine(directory: Path, sink: Sink, url: str, workers: int = 0) -> Daemon:
    """One of the machines."""
    settings = {"STATE_DIR": str(directory), "SMTP_LISTEN": "127.0.0.1:0", "DEST_PORT": str(sink.port)}
    return Daemon(directory, POLICY, workers=workers, env={**settings, "REDIS_URL": url})


def accepted(daemon: Daemon, domain: str, count: int) -> int:
    """How many of so many messages are taken; the others are told when to come again."""
    refusals = []
    for _ in range(count):
        with daemon.smtp() as client:
            try:
                client.sendmail(f"a@{domain}", ["b@big.test"], mail("hello"))
            except smtplib.SMTPDataError as error:
                refusals.append((error.smtp_code, error.smtp_error[:38]))
    assert set(refusals) <= {(451, b"4.7.1 allowance used up, try again in ")}
    return count - len(refusals)


def test_a_customer_has_one_allowance(tmp_path: Path) -> None:
    """Whichever machine and worker he comes to, and the slots of all connections stand in Redis."""
    with (
        RedisServer(tmp_path) as redis,
        Sink(tmp_path) as sink,
        machine(tmp_path / "one", sink, redis.url) as one,
        machine(tmp_path / "two", sink, redis.url, workers=2) as two,
    ):
        assert accepted(one, "acme.test", 2) == 2
        assert accepted(two, "acme.test", 6) == 3
        assert accepted(one, "acme.test", 2) == 0
        assert accepted(one, "globex.test", 1) == 1
        sink.wait_for(6)
        keys = redis.command("KEYS", "*").splitlines()
    assert "kumotwist:rate:lua-user-throttle-customer-acme.test:5:5:3600" in keys
    assert [key for key in keys if key.startswith("kumotwist:slots:") and "@smtp_client" in key]


def test_mail_goes_on_when_redis_is_gone(tmp_path: Path) -> None:
    """Before the start, and in the middle: each machine keeps to its own limits, nothing is lost, one line tells."""
    with RedisServer(tmp_path) as redis, Sink(tmp_path) as sink, machine(tmp_path / "one", sink, redis.url) as one:
        assert accepted(one, "acme.test", 3) == 3
        redis.stop()
        assert accepted(one, "acme.test", 7) == 5
        with machine(tmp_path / "two", sink, redis.url) as two:
            assert accepted(two, "acme.test", 7) == 5
            sink.wait_for(13)
            redis.start()
            eventually(lambda: "limits hold for all machines" in log_after(one, "probe.test"), "Redis is asked again")
    told = [line for line in (one.process.lines if one.process else []) if "hold for each machine by itself" in line]
    assert len(told) == 1


def log_after(daemon: Daemon, domain: str) -> str:
    """Its log, after a message that has it ask."""
    accepted(daemon, domain, 1)
    assert daemon.process is not None
    return daemon.process.text()


def test_a_wrong_password_ends_the_start(tmp_path: Path) -> None:
    """With one sentence that names the function and the server, and not the password."""
    with RedisServer(tmp_path, ["--requirepass", "right-word"]) as redis, Sink(tmp_path) as sink:
        daemon = machine(tmp_path / "one", sink, f"redis://:wrong-word@127.0.0.1:{redis.port}")
        daemon.start(wait=False)
        assert daemon.process is not None
        status = daemon.process.wait(60)
    text = daemon.process.text()
    assert status != 0
    assert f"kumo.configure_redis_throttles: 127.0.0.1:{redis.port}: " in text
    assert "wrong-word" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize("extra", ["kumo.configure_redis_throttles { node = 'redis://a' }", ""])
def test_it_is_configured_once(tmp_path: Path, extra: str) -> None:
    """A second time is an error, as in KumoMTA; `validate` asks no server."""
    source = f"kumo.on('init', function() kumo.configure_redis_throttles {{ node = 'redis://b' }} {extra} end)"
    policy = Bench(tmp_path).policy(source)
    if extra:
        with pytest.raises(PolicyError, match="redis already configured for throttles"):
            now(policy.init())
    else:
        now(policy.init())
        assert policy.declarations.redis is not None
        assert policy.declarations.redis.server.host == "b"

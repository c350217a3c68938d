"""A disk of some tens of MB that fills faster than anyone looks, and is emptied again."""

from __future__ import annotations

import json
import os
import random
import smtplib
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from support.daemon import HTTP_LISTENER, SMTP_LISTENER, Daemon, Sink, eventually, mail, relay_policy
from support.ports import unused_port
from support.smallfs import free, small_file_system

pytestmark = pytest.mark.privileged

MIB = 1024 * 1024


def policy(tmp_path: Path, disk: Path, sink: int) -> str:
    """Relays to `sink`, with the spool on `disk` and the logs elsewhere; nothing waits for room in its ready queue."""
    text = relay_policy(tmp_path, sink).replace(f"{tmp_path / 'spool'}", str(disk))
    return text.replace("prohibited_hosts = {}", "prohibited_hosts = {}, max_ready = 100000")


def send(client: smtplib.SMTP, number: int, size: int) -> int:
    """The reply's code to one message that does not compress."""
    text = random.Random(number).randbytes(size // 2).hex()
    body = "\r\n".join(text[at : at + 100] for at in range(0, len(text), 100))
    try:
        client.sendmail("sender@example.com", "someone@example.org", mail(f"m{number}", body))
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        return error.smtp_code
    return 250


def fill(daemon: Daemon, size: int, enough: int = 30) -> Counter[int]:
    """Send messages of `size` until `enough` of them were refused; how often each code came."""
    codes: Counter[int] = Counter()
    number = 0
    while sum(codes.values()) - codes[250] < enough:
        number += 1
        try:
            with daemon.smtp() as client:
                for _ in range(20):
                    number += 1
                    codes[send(client, number, size)] += 1
        except smtplib.SMTPConnectError as error:
            codes[error.smtp_code] += 1
        except smtplib.SMTPServerDisconnected:
            codes[421] += 1
    return codes


def accepts(daemon: Daemon) -> bool:
    try:
        with daemon.smtp() as client:
            return send(client, 1, 1000) == 250
    except (smtplib.SMTPConnectError, smtplib.SMTPServerDisconnected):
        return False


@pytest.mark.parametrize(
    ("size", "workers", "mebibytes"), [(2_000, 0, 32), (200_000, 0, 64), (5_000_000, 0, 64), (200_000, 2, 64)]
)
def test_a_disk_is_never_filled_to_the_brim(tmp_path: Path, size: int, workers: int, mebibytes: int) -> None:
    """Mail is refused with 452 or 421 while there is a reserve; when mail has left, new mail is taken again."""
    port = unused_port()
    with (
        small_file_system(tmp_path / "disk", mebibytes) as disk,
        Daemon(tmp_path, policy(tmp_path, disk, port), workers) as daemon,
    ):
        codes = fill(daemon, size)
        assert codes.keys() <= {250, 452, 421}
        assert codes[250] * size > mebibytes * MIB / 7
        assert free(disk) > 2 * MIB
        with Sink(tmp_path, listen=f"127.0.0.1:{port}") as sink:
            sink.wait_for(codes[250], 60)
            again: list[int] = []

            def is_taken_again() -> bool:
                again.append(fill(daemon, size, 1)[250])
                return sum(again) * size > mebibytes * MIB / 7

            eventually(is_taken_again, "mail is taken again", 60)
        assert daemon.process is not None
        assert "cannot write the spool" not in daemon.process.text()


def test_a_disk_that_others_filled_is_used_again_when_it_has_room(tmp_path: Path) -> None:
    """A write that fails for lack of room stops acceptance; with room again mail is taken and nothing was lost."""
    port = unused_port()
    with small_file_system(tmp_path / "disk", 64) as disk:
        text = policy(tmp_path, disk, port).replace("name = 'meta',", "name = 'meta', min_free_space = 0,")
        text = text.replace("name = 'data',", "name = 'data', min_free_space = 0,")
        # So that none is due while the spool cannot be written: those are held up for a minute.
        text = text.replace("retry_interval = '1 second'", "retry_interval = '15 seconds'").replace("'2 sec", "'15 sec")
        with Daemon(tmp_path, text) as daemon:
            with daemon.smtp() as client:
                assert [send(client, number, 50_000) for number in range(20)] == [250] * 20
                # Between two looks: the gate cannot know.
                with (disk / "somebody-elses").open("wb") as other:
                    other.write(bytes(free(disk) - 200_000))
            codes = fill(daemon, 50_000, 5)
            assert codes[250] < 5
            assert daemon.process is not None
            taken = 20 + codes[250]
            os.truncate(disk / "somebody-elses", 0)
            eventually(lambda: accepts(daemon), "mail is taken again", 60)
            daemon.expect_critical("cannot write the spool")
            log = daemon.process.text()
            assert "no mail is accepted until the disk has room again" in log
            assert "accepts writes again" in log
            with Sink(tmp_path, listen=f"127.0.0.1:{port}") as sink:
                sink.wait_for(taken + 1, 60)
                daemon.stop()
        with Sink(tmp_path, listen=f"127.0.0.1:{port}") as sink, Daemon(tmp_path, text) as daemon:
            # Nothing that was delivered is there still, and nothing that was refused.
            assert accepts(daemon)
            assert len(sink.wait_for(taken + 2, 60)) == taken + 2


def test_records_that_are_lost_are_counted(tmp_path: Path) -> None:
    """A log on a disk that somebody else filled: mail flows, and `log_records_lost` counts what is missing."""
    with small_file_system(tmp_path / "logs", 16) as disk, Sink(tmp_path) as sink:
        text = relay_policy(tmp_path, sink.port, f"{SMTP_LISTENER}\n{HTTP_LISTENER}")
        text = text.replace(f"log_dir = '{tmp_path / 'log'}'", f"log_dir = '{disk}', min_free_space = '0%'")
        with Daemon(tmp_path, text) as daemon:
            with (disk / "somebody-elses").open("wb") as other:
                other.write(bytes(free(disk)))
            with daemon.smtp() as client:
                assert [send(client, number, 1000) for number in range(20)] == [250] * 20
            sink.wait_for(20, 60)
            # A Reception and a Delivery for each.
            eventually(lambda: lost(daemon) == 40, "all are counted", 60)
            os.truncate(disk / "somebody-elses", 0)
            with daemon.smtp() as client:
                assert send(client, 21, 1000) == 250
            sink.wait_for(21, 60)
            eventually(lambda: "is written again" in daemon.process.text(), "the log is written again", 60)
            assert lost(daemon) == 40
            daemon.expect_critical("records were lost")


def lost(daemon: Daemon) -> int:
    """What `/metrics.json` says of lost records, over all logs."""
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.port('http')}/metrics.json", timeout=30) as answer:
        return sum(json.load(answer)["log_records_lost"]["value"]["logger"].values())

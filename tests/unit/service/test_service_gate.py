"""When new messages are refused, and with which words."""

from __future__ import annotations

import math
import os

import pytest
from twisted.logger import capturedLogs, formatEvent

from kumotwist.core.errors import SpoolFull
from kumotwist.service.diskspace import Disk, DiskSpace, MinFree
from kumotwist.service.gate import Gate, memory_limit


def test_reasons_in_kumomtas_order() -> None:
    """The reasons come one at a time, the most final first, and go away with their cause."""
    used, health = [100], [True]
    gate = Gate(1000, is_healthy=lambda: health[0], memory_used=lambda: used[0])
    assert gate.refusal() == "waiting for spool startup"
    gate.open()
    assert gate.refusal() is None
    health[0] = False
    assert gate.refusal() == "the spool is not accepting writes"
    used[0] = 751
    gate.poll()
    assert gate.refusal() == "load shedding"
    gate.shut()
    assert gate.refusal() == "shutting down"


def test_memory_pressure_passes() -> None:
    """When memory is freed, mail is taken again."""
    used = [900]
    gate = Gate(1000, memory_used=lambda: used[0])
    gate.open()
    gate.poll()
    assert gate.refusal() == "load shedding"
    used[0] = 100
    gate.poll()
    assert gate.refusal() is None


def test_memory_kept_for_later_is_given_up_first() -> None:
    """What malloc holds back of freed memory is no reason to refuse mail."""
    used = [900]
    gate = Gate(1000, memory_used=lambda: used[0], release_memory=lambda: used.__setitem__(0, 700))
    gate.open()
    gate.poll()
    assert gate.refusal() is None


def test_a_full_disk_refuses_mail(tmp_path) -> None:
    """Below min_free_space the SMTP server says that the disk is too full."""
    gate = Gate(1 << 60, DiskSpace([Disk(str(tmp_path), MinFree.parse("1000000TB"))]))
    gate.open()
    gate.poll()
    assert gate.refusal() == "disk is too full"


def test_the_operator_hears_once_that_mail_is_refused_and_once_that_it_is_over(tmp_path) -> None:
    """The diagnostic log names the full disk when refusals begin, and says when mail is taken again."""
    owed = [1 << 60]
    gate = Gate(1 << 60, DiskSpace([Disk(str(tmp_path), MinFree(0.0), MinFree(0.0), lambda: owed[0])]))
    with capturedLogs() as events:
        for left in (1 << 60, 1 << 60, 0, 0):
            owed[0] = left
            gate.poll()
    said = [formatEvent(event) for event in events]
    assert said == [f"mail is refused: the disk of {tmp_path} is too full", "mail is taken again"]


def test_the_operator_hears_of_messages_that_were_too_large_for_the_room_left(tmp_path) -> None:
    """A disk that still takes small messages has refused a large one: that is said, too."""
    gate = Gate(1 << 60, DiskSpace([Disk(str(tmp_path), MinFree(0.0), MinFree(0.0))]))
    with capturedLogs() as events:
        gate.poll()
        with pytest.raises(SpoolFull):
            gate.space.take(1 << 60)
        gate.poll()
    assert [formatEvent(event) for event in events] == [f"mail is refused: the disk of {tmp_path} is too full"]


def test_what_is_free_is_a_metric(tmp_path) -> None:
    """By KumoMTA's names, in octets and whole per cents, once for each place."""
    here = Disk(str(tmp_path), name="data spool")
    gone = Disk(str(tmp_path / "none"), name="log dir /none")
    found = {one.name: one for one in Gate(1 << 60, DiskSpace([here, here, gone])).samples()}
    stat = os.statvfs(tmp_path)
    assert found["disk_free_bytes"].labels == (("name", "data spool"),)
    assert found["disk_free_bytes"].value == pytest.approx(stat.f_bavail * stat.f_frsize, rel=0.2)
    assert found["disk_free_percent"].value == pytest.approx(stat.f_bavail * 100 // stat.f_blocks, abs=2)
    assert not any("none" in str(one.labels) for one in found.values())


def test_a_directory_that_is_not_there_is_not_full(tmp_path) -> None:
    """A log directory that the logger has yet to make does not stop mail."""
    assert Disk(str(tmp_path / "none")).room() == math.inf


@pytest.mark.parametrize(
    ("text", "free", "total", "met"),
    [
        ("10%", 10, 100, True),
        ("10%", 9, 100, False),
        ("1kb", 1024, 1 << 30, True),
        ("1KiB", 1023, 1 << 30, False),
        (500, 499, 1000, False),
        ("1,000", 1000, 2000, True),
        ("10%", 0, 0, True),
    ],
)
def test_min_free(text: str | int, free: int, total: int, met: bool) -> None:
    """`min_free_space` and `min_free_inodes` are shares or numbers; btrfs counts no inodes (total 0)."""
    assert MinFree.parse(text).is_met(free, total) is met


@pytest.mark.parametrize("text", ["ten", "120%", "", "5 parsecs"])
def test_min_free_says_what_is_wrong(text: str) -> None:
    """A value that is neither is refused when the policy is read."""
    with pytest.raises(ValueError, match=r"free space|share|could not convert"):
        MinFree.parse(text)


def test_this_machine_has_a_memory_limit() -> None:
    """The limit is the least of control groups, rlimits and the machine's memory."""
    assert 1 << 20 < memory_limit() < 1 << 50


def test_the_limit_shown_is_where_load_shedding_begins() -> None:
    """`memory_limit` is KumoMTA's soft limit: mail is refused above it."""
    (limit,) = [sample.value for sample in Gate(1000).samples()]
    assert limit == 750

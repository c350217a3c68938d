"""Free space."""

import pytest
from twisted.internet.task import Clock

from kumotwist.spool.space import INTERVAL, Floor, Place, SpaceWatch


def test_amounts_are_read_as_operators_write_them():
    """`10%` and a number of octets."""
    assert Floor.parse("10%") == Floor(percent=10.0)
    assert Floor.parse(" 2.5 % ") == Floor(percent=2.5)
    assert Floor.parse("1_000") == Floor.parse(1000) == Floor(count=1000)
    for wrong in ("", "%", "101%", "-1", "ten", "10 GB"):
        with pytest.raises(ValueError, match="10%"):
            Floor.parse(wrong)


def test_a_floor_is_a_share_or_a_count():
    """Exactly at the floor is enough."""
    assert Floor.parse("10%").is_met(10, 100)
    assert not Floor.parse("10%").is_met(9, 100)
    assert Floor.parse("5").is_met(5, 100)
    assert not Floor.parse("5").is_met(4, 100)
    assert Floor.parse("10%").is_met(0, 0)


def test_a_full_disk_refuses_mail_until_there_is_room(tmp_path):
    """New mail is refused while a place is too full, and again taken after; the disk is asked every few seconds only."""
    clock = Clock()
    place = tmp_path / "logs"
    watch = SpaceWatch([Place(name="log", path=str(place), min_free_space=Floor(percent=0.0))], clock)
    assert watch.refusal() == "disk is too full"
    place.mkdir()
    assert watch.refusal() == "disk is too full"
    clock.advance(INTERVAL)
    assert watch.refusal() is None
    impossible = Place(name="x", path=str(tmp_path), min_free_space=Floor(count=1 << 62))
    assert SpaceWatch([impossible], clock).refusal() == "disk is too full"
    inodes = Place(name="x", path=str(tmp_path), min_free_space=Floor(count=1), min_free_inodes=Floor(count=1 << 62))
    assert SpaceWatch([inodes], clock).refusal() == "disk is too full"


def test_what_is_free_is_shown(tmp_path):
    """The four disk metrics have a value per place."""
    samples = list(
        SpaceWatch([Place(name="spool", path=str(tmp_path)), Place(name="no", path="/no")], Clock()).samples()
    )
    assert [sample.name for sample in samples] == [
        "disk_free_bytes",
        "disk_free_percent",
        "disk_free_inodes",
        "disk_free_inodes_percent",
    ]
    assert {sample.labels for sample in samples} == {(("name", "spool"),)}
    assert 0 < samples[1].value <= 100

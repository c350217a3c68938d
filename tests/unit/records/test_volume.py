"""The accounting database of received and delivered volume."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest_twisted
from twisted.internet import reactor

from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import Response
from kumotwist.records.volume import VolumeBook


def new_record(kind, recipients, **changes):
    response = Response(250, "ok")
    return Record(
        type=kind,
        event_time=0.0,
        response=response,
        recipients=recipients,
        message=None,
        sender="",
        queue="q",
        **changes,
    )


class Moment:
    """The reactor at another time."""

    def __init__(self, now: float) -> None:
        self.now = now

    def seconds(self) -> float:
        return self.now

    def __getattr__(self, name: str):
        return getattr(reactor, name)


def rows(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT event_time, received, delivered FROM accounting ORDER BY 1").fetchall()


@pytest_twisted.ensureDeferred
async def test_recipients_are_counted_by_month_over_all_workers(tmp_path):
    """Each recipient of a Reception or Delivery counts; records of hooks and failures do not."""
    path = tmp_path / "db" / "accounting.db"
    november, december = Moment(1795462177.0), Moment(1796688000.0)
    one, other = VolumeBook(path, november), VolumeBook(path, november)
    await one.flush()
    assert not path.exists()
    for book in (one, other):
        book.count(new_record(RecordType.RECEPTION, recipients=("a@x.example", "b@x.example")))
        book.count(new_record(RecordType.DELIVERY, recipients=("a@x.example",)))
        book.count(new_record(RecordType.BOUNCE, recipients=("b@x.example",)))
        book.count(new_record(RecordType.DELIVERY, recipients=("a@x.example",), reception_protocol="LogRecord"))
        await book.flush()
        await book.flush()
    assert rows(path) == [("2026-11-01 00:00:00", 4, 2)]
    later = VolumeBook(path, december)
    later.count(new_record(RecordType.DELIVERY, recipients=("a@x.example",)))
    await later.flush()
    assert rows(path)[1] == ("2026-12-01 00:00:00", 0, 1)


@pytest_twisted.ensureDeferred
async def test_a_file_that_cannot_be_written_loses_no_count(tmp_path, events):
    """The log says so, mail goes on, and the next time everything is added."""
    path = tmp_path / "accounting.db"
    path.mkdir()
    book = VolumeBook(path, Moment(1795462177.0))
    book.count(new_record(RecordType.RECEPTION, recipients=("a@x.example",)))
    await book.flush()
    assert any("accounting database" in str(event.get("log_format")) for event in events)
    path.rmdir()
    await book.flush()
    assert rows(path) == [("2026-11-01 00:00:00", 1, 0)]

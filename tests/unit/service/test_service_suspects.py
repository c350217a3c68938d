"""Messages that a process ended with: noted in shared memory, counted over restarts."""

from __future__ import annotations

import pytest_twisted
from twisted.internet import reactor

from kumotwist.core.address import parse_address
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.core.suspect import PATIENCE_ALONE, PATIENCE_IN_COMPANY, Suspect
from kumotwist.net.sqlite import SqliteFile
from kumotwist.service.suspects import SCHEMA, charge
from kumotwist.service.witness import Note, Witness, read_notes

IDS = IdGenerator(lambda: 1.0)
USER = parse_address("u@example.org")


def opened(directory, index: int) -> Witness:
    witness = Witness()
    witness.open(directory, index)
    return witness


def message() -> Message:
    return Message(IDS(), USER, (USER,), {}, b"hi")


def test_what_policy_had_in_hand_outlives_the_process(tmp_path) -> None:
    """The successor of a killed worker knows the messages and the event."""
    one, two = message(), message()
    witness = opened(tmp_path, 0)
    witness.begin("send", [one, two])
    assert read_notes(tmp_path, 0, 1) == [Note("send", [one.id, two.id])]
    witness.end()
    assert read_notes(tmp_path, 0, 1) == []
    witness.begin("requeue_message", [two])
    assert read_notes(tmp_path, 0, 1) == [Note("requeue_message", [two.id])]
    opened(tmp_path, 0)
    assert read_notes(tmp_path, 0, 1) == []


def test_a_worker_that_is_not_started_any_more_is_heard(tmp_path) -> None:
    """With fewer workers than before the first one reads what the others left, once."""
    witnesses = [opened(tmp_path, index) for index in range(3)]
    ones = [message() for _ in witnesses]
    for witness, one in zip(witnesses, ones, strict=True):
        witness.begin("send", [one])
    assert [note.spool_ids for note in read_notes(tmp_path, 0, 2)] == [[ones[0].id], [ones[2].id]]
    assert [note.spool_ids for note in read_notes(tmp_path, 1, 2)] == [[ones[1].id]]
    assert [note.spool_ids for note in read_notes(tmp_path, 0, 2)] == [[ones[0].id]]


def test_more_messages_than_a_page_holds_do_no_harm(tmp_path) -> None:
    """A very large batch is noted in part."""
    witness = opened(tmp_path, 0)
    witness.begin("e" * 100, [message() for _ in range(1000)])
    (note,) = read_notes(tmp_path, 0, 1)
    assert note.event == "e" * 64
    assert 200 < len(note.spool_ids) < 1000


def test_a_page_that_makes_no_sense_is_ignored(tmp_path) -> None:
    """A cut or foreign file does not stop a start."""
    for content in (b"", b"\xff" * 4096, b"\0\1short"):
        (tmp_path / "in-policy-0").write_bytes(content)
        (tmp_path / "in-policy-x").write_bytes(content)
        assert read_notes(tmp_path, 0, 1) == []


@pytest_twisted.ensureDeferred
async def test_ends_are_counted_over_restarts(tmp_path) -> None:
    """Alone and in company are counted apart; the last ones are fresh for ten minutes and known for four weeks."""
    one, two = IDS(), IDS()
    state = await SqliteFile.open(tmp_path / "state", reactor, SCHEMA)
    await charge(state, [Note("send", [one])], 1000.0)
    await charge(state, [Note("send_batch", [one, two])], 1100.0)
    found = await charge(state, [], 1650.0)
    assert found == {one: Suspect("send_batch", 1, 1, True), two: Suspect("send_batch", 0, 1, True)}
    found = await charge(state, [Note("send", [two])], 1701.0)
    assert found == {one: Suspect("send_batch", 1, 1, False), two: Suspect("send", 1, 1, True)}
    assert list(await charge(state, [], 1101.0 + 28 * 86400)) == [two]
    await state.close()


def test_patience_has_an_end() -> None:
    """Three ends alone are no chance; in a batch it takes ten, since the others of the batch are innocent."""
    assert not Suspect("send", PATIENCE_ALONE - 1).is_given_up
    assert Suspect("send", PATIENCE_ALONE).is_given_up
    assert not Suspect("send", 0, PATIENCE_IN_COMPANY - 1).is_given_up
    assert Suspect("send", 0, PATIENCE_IN_COMPANY).is_given_up
    assert [Suspect("send", count).delay for count in (1, 2, 3, 9)] == [60.0, 240.0, 960.0, 3600.0]

"""Spool ids."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.ids import IdGenerator, created_at, from_hex, to_hex


@given(st.floats(min_value=0, max_value=4e9))
def test_the_time_of_creation_reads_back(now: float) -> None:
    """A message's age is computed from its id alone, to the microsecond."""
    assert abs(created_at(IdGenerator(lambda: now)()) - now) < 2e-6


def test_an_id_is_a_version_1_uuid() -> None:
    """RFC 9562 s5.1: other tools read version, variant and time from it."""
    made = uuid.UUID(bytes=bytes(IdGenerator(lambda: 1_700_000_000.0)()))
    assert made.version == 1
    assert made.variant == uuid.RFC_4122
    assert (made.time - 0x01B21DD213814000) / 1e7 == 1_700_000_000.0


def test_ids_are_unique_when_the_clock_stands_or_steps_back() -> None:
    """No two messages share a name, whatever the clock does."""
    times = iter([50.0, 50.0, 49.0, 10.0, 50.0])
    generate = IdGenerator(lambda: next(times))
    ids = [generate() for _ in range(5)]
    assert len(set(ids)) == 5
    assert [created_at(one) for one in ids] == sorted(created_at(one) for one in ids)


def test_two_workers_do_not_collide() -> None:
    """Each generator has a node part of its own."""
    assert IdGenerator(lambda: 1.0)()[8:] != IdGenerator(lambda: 1.0)()[8:]


@given(st.binary(min_size=16, max_size=16))
def test_the_printed_form_reads_back(raw: bytes) -> None:
    """32 hex digits without dashes."""
    assert from_hex(to_hex(from_hex(raw.hex()))) == raw

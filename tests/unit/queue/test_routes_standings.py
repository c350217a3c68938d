"""What is remembered of the classes of a table."""

from __future__ import annotations

from kumotwist.queue.routes.balance import MAX_CLASSES
from kumotwist.queue.routes.standings import Standings
from kumotwist.queue.routes.tallies import ALL


def test_the_class_that_was_used_longest_ago_makes_way():
    """Domains without end cost no memory without end, and what all of them have shown is never forgotten."""
    forgotten: list[str] = []
    standings = Standings(2, 600.0, forgotten.append)
    everybody = standings.of(ALL)
    for number in range(MAX_CLASSES - 1):
        standings.of(f"d{number}.example")
    standings.of("d0.example")
    standings.of("one.more")
    assert forgotten == ["d1.example"]
    assert standings.of(ALL) is everybody
    assert len(standings.known()) == MAX_CLASSES


def test_asking_after_a_class_does_not_make_it():
    """Explanations of made-up domains leave no trace; such a class is like all."""
    standings = Standings(2, 600.0, lambda _: None)
    assert standings.seen("made.up") is standings.of(ALL)
    assert standings.shown() == [ALL]


def test_the_classes_shown_are_those_used_last():
    """The class of all stands first."""
    standings = Standings(1, 600.0, lambda _: None)
    for name in (ALL, "a", "b", "a"):
        standings.of(name)
    assert standings.shown() == [ALL, "a", "b"]

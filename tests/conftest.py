"""What holds for every test: nothing fails unseen, and nothing is left behind.

A failure that the program logs, an error in a Deferred that nobody reads, a delayed call, a socket or a child process
that outlives its test fails that test. A test that provokes a failure asks for the fixture `failures` and says
`failures.expect("part of its text")`.

Nothing fails by chance: hypothesis draws the same examples each time unless it is told otherwise
(tests/support/examples.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_twisted import blockon
from support import examples
from support.leftovers import Garbage, LoggedFailures, Reactor
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher

examples.register()


@pytest.fixture(scope="session")
def _garbage() -> Iterator[Garbage]:
    """The garbage of all tests. What the last ones left in it is looked at in the end."""
    garbage = Garbage()
    garbage.collect_all()
    yield garbage
    with LoggedFailures().watching() as logged:
        garbage.collect_all()
    fail_for(logged)


@pytest.fixture(autouse=True)
def failures(_garbage: Garbage) -> Iterator[LoggedFailures]:
    """What the program logs as failed or critical. Unexpected ones fail the test."""
    with LoggedFailures().watching() as logged:
        yield logged
        _garbage.collect()
    fail_for(logged)


def fail_for(logged: LoggedFailures) -> None:
    """Fail when anything was logged that nobody expected."""
    if texts := logged.texts():
        pytest.fail("unexpected failures were logged:\n" + "\n".join(texts), pytrace=False)


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """All that the program logs during the test."""
    seen: list[LogEvent] = []
    globalLogPublisher.addObserver(seen.append)
    yield seen
    globalLogPublisher.removeObserver(seen.append)


@pytest.fixture(autouse=True)
def clean_reactor(failures: LoggedFailures) -> Iterator[None]:
    """Delayed calls, sockets and children that a test leaves in the reactor fail it."""
    reactor = Reactor()
    yield
    if left := blockon(Deferred.fromCoroutine(reactor.leftovers())):
        pytest.fail("left in the reactor:\n" + "\n".join(left), pytrace=False)

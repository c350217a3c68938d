"""Trying a policy without the daemon: it ends."""

from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kumotwist.core.errors import ConfigError
from kumotwist.service.tryout import in_time


def test_a_handler_that_never_ends_ends_an_explanation():
    """With a line that says so."""
    clock, ended = Clock(), []

    async def wait_for_ever():
        await Deferred()

    deferred = Deferred.fromCoroutine(in_time(SimpleNamespace(reactor=clock), wait_for_ever()))
    deferred.addErrback(lambda failure: ended.append(failure.value))
    clock.advance(59)
    assert not ended
    clock.advance(2)
    with pytest.raises(ConfigError, match="no answer within 60 s"):
        raise ended[0]

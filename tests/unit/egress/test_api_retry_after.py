"""How long to wait, in every form in which providers put it."""

import pytest

from kumotwist.egress.api.retryafter import MAX_WAIT, seconds_of

NOW = 1_795_500_000.0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120.0),
        ("1.5 s", 1.5),
        (5, 5.0),
        ("0", 1.0),
        (NOW + 10, 10.0),
        ("Tue, 24 Nov 2026 06:00:30 GMT", 30.0),
        # The example of RFC 9110 s10.2.3: a time that has passed, not a span of 25 years.
        ("Sun, 06 Nov 1994 08:49:37 GMT", 1.0),
        ("Tue, 24 Nov 2099 06:00:30 GMT", MAX_WAIT),
        ("soon", None),
        (float("inf"), None),
    ],
)
def test_what_is_meant(said, seconds):
    """A second at least, a day at most; nonsense is no hint."""
    assert seconds_of(said, NOW) == seconds

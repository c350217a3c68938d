"""How hypothesis draws its examples. tests/conftest.py loads `ci`; `--hypothesis-profile=NAME` takes another.

`ci` draws the same ones each time: what a change did not break does not fail on it. `random` draws new ones each time,
and `long` ten times as many: what they find is for whoever looks for defects. How long an example takes fails nothing
in any of them: that says how busy the machine is.

Public: `register`, `examples`.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

#: What hypothesis draws when nobody says how many.
USUAL = 100
LONG = 10


def register() -> None:
    """Make the profiles known, and load `ci`."""
    calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
    settings.register_profile("ci", calm, derandomize=True, database=None, max_examples=USUAL)
    settings.register_profile("random", calm, derandomize=False, max_examples=USUAL)
    settings.register_profile("long", calm, derandomize=False, max_examples=USUAL * LONG)
    settings.load_profile("ci")


def examples(count: int) -> int:
    """`count`, or what the loaded profile makes of it."""
    return count * settings().max_examples // USUAL

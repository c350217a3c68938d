"""Fixtures for tests that run policies."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.lua import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """What a policy stands on, with its file in a directory of the test's own."""
    return Bench(tmp_path)

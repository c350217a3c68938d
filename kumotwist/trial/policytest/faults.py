"""What ends a test early.

Public: `Failed`.
"""

from __future__ import annotations

from kumotwist.core.errors import KumotwistError


class Failed(KumotwistError):
    """What a test expected did not happen, or it asked for what cannot be. Lua adds file and line."""

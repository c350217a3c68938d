"""The bounce classification of a record.

Public: `classify`. Without classifier rules every record is `Uncategorized`,
as in KumoMTA before `configure_bounce_classifier`.
"""

from __future__ import annotations

from typing import Final

from kumotwist.core.records import Record

UNCATEGORIZED: Final = "Uncategorized"


def classify(_record: Record) -> str:
    """What kind of failure this is, for readers of logs."""
    return UNCATEGORIZED

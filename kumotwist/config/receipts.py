"""Options of the receipts ledger. Public: `ReceiptsConfig`."""

from __future__ import annotations

from kumotwist.config.option import Duration, option, options


@options
class ReceiptsConfig:
    """How long it is remembered what was handed over and what came back."""

    keep: Duration = option("Forget hand-overs and receipts after so long.", default=Duration(14 * 86400.0))
    keep_rows: int = option(
        "Forget the oldest above so many, of hand-overs and of receipts; a million take up to 0.7 GB.",
        default=1_000_000,
        unit="rows",
    )
    park: Duration = option(
        "Wait so long for the message of a receipt before it is written without one.", default=Duration(600.0)
    )
    max_parked: int = option(
        "Receipts that may wait; above it providers hear 503 and send them again.", default=200_000, unit="receipts"
    )

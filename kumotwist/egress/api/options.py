"""The options that every channel over an HTTP API has.

Public: `ApiOptions`, `CallOptions`, `check_base_url`. A provider's options class derives from the first,
names its own credentials, and gives `base_url` the provider's address as default;
from the second where it is a secret or a message that says where to call.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from kumotwist.config.bounds import positive
from kumotwist.config.option import Duration, WrongOption, option, options
from kumotwist.config.queue import OnUnknown
from kumotwist.net.http import clean_url


@options
class CallOptions:
    """How patient we are with who is called."""

    account: str = option("What we call the account in records and in the URLs for receipts.", default="main")
    timeout: Duration = option("Bound on one request.", default=Duration(60.0), validator=positive)
    on_unknown: OnUnknown = option(
        "When a request was sent and no reply came, or none that is the peer's: `Retry` risks a double, `Bounce` and "
        "`AssumeDelivered` a loss.",
        default="Retry",
    )
    rest: Duration = option(
        "How long all its messages wait after it refused our account (401, 402, 403), unless it says.",
        default=Duration(300.0),
    )

    def misled(self) -> tuple[str, str] | None:
        """An option by which nobody can ever be called, and what is said of it; None when there is none."""
        return None


@options
class ApiOptions(CallOptions):
    """The same, and where the provider is."""

    base_url: str = option("Where its API is: a region's, a proxy's, a test's.")


def check_base_url(url: str) -> None:
    """Raises ValueError when nobody could be asked there, as when the `https://` is missing."""
    try:
        clean_url(url)
    except ValueError as error:
        raise WrongOption("base_url", f"is {error}") from None
    if urlsplit(url).query:
        raise WrongOption("base_url", "must not have a query")

"""Options of the library functions: HTTP clients and memoized functions.

Public: `HttpClientConfig`, `MemoizeConfig`.
"""

from __future__ import annotations

from kumotwist.config.option import Duration, option, options


@options
class HttpClientConfig:
    """How an HTTP client behaves. Clients with the same trust and idle time-out share their connections."""

    user_agent: str | None = option("The User-Agent header of its requests; none: our own name.", default=None)
    timeout: Duration = option("Bound on a whole exchange; a request may set its own.", default=Duration(60.0))
    pool_idle_timeout: Duration = option("Keep an idle connection so long.", default=Duration(90.0))
    connection_verbose: bool = option("Log each exchange.", default=False)
    accept_invalid_certs: bool = option("Take any TLS certificate; for development only.", default=False)


@options
class MemoizeConfig:
    """How a memoized function remembers."""

    name: str = option("Name of the cache, one per purpose.")
    ttl: Duration = option("How long a result is good.")
    capacity: int = option("Results kept, the least recently used going first.", unit="results")
    invalidate_with_epoch: bool = option("Forget everything when the policy changes.", default=False)
    populate_timeout: Duration = option("Bound on one call of the function.", default=Duration(120.0))
    retry_on_populate_timeout: bool = option("Try again when that bound is hit, three times in all.", default=False)
    allow_stale_reads: bool = option("Return an expired result while it is made anew.", default=False)

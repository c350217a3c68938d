"""A provider's call: the request as it came, and what may be wrong with it.

Public: `Callback`, `Scheme`, `Unproven`, `Unreadable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import msgspec
from attrs import field, frozen

from kumotwist.config.receipts import ReceiptProof
from kumotwist.core.errors import KumotwistError
from kumotwist.core.receipt import ReceiptEvent

#: Parameters of one form. Ours: the longest callback seen has some forty.
MAX_PARAMETERS: Final = 500


class Unproven(KumotwistError):
    """The call does not prove that it is the provider's: answer 4xx and note nothing."""


class Unreadable(KumotwistError):
    """The call is the provider's, but not what it documents. Say so in the log; sending it again would not help."""


@frozen(kw_only=True)
class Callback:
    """One call. `url` is the whole URL as the provider called it; `header` finds a header by its name in any case."""

    method: str
    url: str
    query: str = ""
    header: Callable[[str], str | None]
    body: bytes = field(default=b"", repr=False)

    def json(self) -> Any:
        """The body as JSON. Raises Unreadable."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Unreadable(f"the body is not JSON: {error}") from None

    def form(self) -> list[tuple[str, str]]:
        """The parameters of a form: of the body or, where there is none, of the query. Raises Unreadable."""
        source = self.body.decode("utf-8", "replace") if self.body else self.query
        try:
            return parse_qsl(source, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError as error:
            raise Unreadable(f"the body is no form: {error}") from None

    def parameters(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last. Raises Unreadable."""
        try:
            return dict(parse_qsl(self.query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS))
        except ValueError as error:
            raise Unreadable(f"the query is no form: {error}") from None

    def required(self, name: str) -> str:
        """A header that a proof needs. Raises Unproven."""
        value = self.header(name)
        if not value:
            raise Unproven(f"there is no {name} header")
        return value


#: Judges a call: `verify(callback, options, secrets, now)`; `secrets` has the key sources among the options by
#: name, as text. Returns what makes this very call the only one of its kind, "" when nothing does. Raises Unproven.
Verify: TypeAlias = Callable[[Callback, Any, Mapping[str, str], float], str]
#: Reads a proven call; the events' account is filled in by the caller. Raises Unreadable.
Parse: TypeAlias = Callable[[Callback], Sequence[ReceiptEvent]]


@frozen
class Scheme:
    """How one provider reports. `max_age` in seconds: how old a call may be, by the provider's retries."""

    channel: str
    parse: Parse
    verify: Verify | None = None
    max_age: float = 300.0

    def age_limit(self, options: ReceiptProof) -> float:
        """The operator's limit, or else the provider's."""
        return options.max_age if options.max_age is not None else self.max_age

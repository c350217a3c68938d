"""Judging replies: from a provider's status, code and text to outcomes.

A provider's module lists its `Rule`s, most particular first; what none of them
covers falls to the rules that hold for every HTTP API (`COMMON`). The same list
makes the error table in the docs.

A page of HTML is what a captive portal, a proxy or another server's default site
says; no API does. It is never a yes, and no reason to bounce a message.

Public: `Fault`, `Rule`, `COMMON`, `Judge`, `is_page`. What can go wrong: Unreadable
for a yes that is a page. What is not known is judged by its status alone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from attrs import field, frozen

from kumotwist.core.outcome import Outcome, Peer, Scope, Verdict
from kumotwist.core.receipt import MAX_TEXT, printable
from kumotwist.core.response import Response
from kumotwist.egress.api.dialect import Unreadable
from kumotwist.egress.api.retryafter import retry_after
from kumotwist.net.http import HttpResponse

#: Seconds to rest after 429 without a hint: most limits are per second, some per minute. Ours.
THROTTLE_REST: Final = 10.0


class Fault(enum.Enum):
    """Whose fault a refusal is, which decides what happens next."""

    #: Tried again with the usual delay.
    TRANSIENT = "transient"
    #: This message or recipient will never be taken: bounced.
    PERMANENT = "permanent"
    #: Too fast: everything waits as long as the provider says.
    THROTTLED = "throttled"
    #: Our account, key or balance: everything waits, nothing is charged or bounced.
    ACCOUNT = "account"
    #: The address is gone for good: bounced, and told to the application.
    DEAD = "dead"


@frozen
class Rule:
    """`statuses` (none: any), the provider's own `code` (none: any) and a part of its text (none: any) make a fault."""

    fault: Fault
    statuses: tuple[int, ...] = ()
    code: str | None = None
    says: str | None = None
    meaning: str = field(default="", kw_only=True)

    def covers(self, status: int, code: str | None, text: str) -> bool:
        """Whether the rule is about this reply."""
        return (
            (not self.statuses or status in self.statuses)
            and (self.code is None or self.code == code)
            and (self.says is None or self.says.lower() in text.lower())
        )


#: What holds for every HTTP API; a status of 5yz that is not here is transient, any other permanent.
COMMON: Final = (
    Rule(Fault.THROTTLED, (429,), meaning="too many requests"),
    Rule(Fault.ACCOUNT, (401, 402, 403), meaning="our key, account or balance"),
    # No message is the cause of these: what we call is a fixed place, the operator's `base_url` with a path of ours.
    Rule(Fault.ACCOUNT, (404, 405, 410), meaning="there is no such call at `base_url`"),
    Rule(Fault.ACCOUNT, (301, 302, 303, 307, 308), meaning="it has moved; redirects are not followed"),
    Rule(Fault.ACCOUNT, (407, 426), meaning="a proxy on the way wants a login, or another protocol"),
    Rule(Fault.TRANSIENT, (408, 421, 425), meaning="the provider was not ready"),
)

#: How web servers say under 400 that they were spoken to in clear where TLS is: Go's, nginx, Apache. In small letters.
_WANT_TLS: Final = (
    *("http request to an https server", "plain http request was sent to https port"),
    "speaking plain http to an ssl-enabled server port",
)
_SCOPES: Final = {Fault.THROTTLED: Scope.SOURCE, Fault.ACCOUNT: Scope.SOURCE}
#: The SMTP reply code that stands for a fault in records (RFC 5321 s4.2; 421 for what concerns all messages).
_CODES: Final = {
    Fault.TRANSIENT: 451,
    Fault.PERMANENT: 550,
    Fault.THROTTLED: 421,
    Fault.ACCOUNT: 421,
    Fault.DEAD: 550,
}


@frozen(eq=False)
class Judge:
    """Makes outcomes in a provider's name. `rest` is for faults of the account; `now` gives Unix seconds.

    `believes_pages`: the peer may be anybody's program, for which a page of HTML is as good an answer as any.
    """

    peer: Peer
    rules: Sequence[Rule]
    rest: float
    now: Callable[[], float]
    believes_pages: bool = field(default=False, kw_only=True)

    def delivered(self, reply: HttpResponse, remote_id: str | None, text: str = "", parts: int = 1) -> Outcome:
        """It was taken; `text` goes into the record behind the status. Raises Unreadable when a page says so."""
        if is_page(reply) and not self.believes_pages:
            raise Unreadable(f"{reply.code} and a page, not an answer of the API")
        content = printable(f"{_status(reply)}: {text or remote_id or ''}".removesuffix(": "), MAX_TEXT)
        code = reply.code if 200 <= reply.code < 300 else 200
        return Outcome(
            Verdict.DELIVERED, Response(code, content), Scope.MESSAGE, self.peer, remote_id=remote_id, parts=parts
        )

    def refused(
        self,
        reply: HttpResponse,
        text: str,
        code: str | None = None,
        hint: float | None = None,
        otherwise: Fault | None = None,
    ) -> Outcome:
        """It was not. `code` is the provider's own, `hint` seconds to wait that its body told.

        `otherwise` is the fault of what no rule covers, for refusals under a status that says nothing of them.
        """
        fault = self.fault(reply.code, code, text, otherwise)
        # 413 is about this message, whoever on the way says it.
        if fault is Fault.PERMANENT and reply.code != 413 and is_page(reply) and not self.believes_pages:
            fault = Fault.TRANSIENT
        to = reply.header("location") if 300 <= reply.code < 400 else None
        if to is not None:
            text = f"redirects to {_place(to)} are not followed"
        wait = hint if hint is not None else retry_after(reply, self.now())
        if wait is None and fault in _SCOPES:
            wait = self.rest if fault is Fault.ACCOUNT else THROTTLE_REST
        said = f"{code} {text}" if code is not None and code not in text else text
        return self.outcome(fault, f"{_status(reply)}: {said}".removesuffix(": "), wait)

    def outcome(self, fault: Fault, text: str, wait: float | None = None) -> Outcome:
        """The outcome of a fault that is known."""
        verdict = Verdict.PERMANENT if fault in (Fault.PERMANENT, Fault.DEAD) else Verdict.TRANSIENT
        return Outcome(
            verdict,
            Response(_CODES[fault], printable(text, MAX_TEXT)),
            _SCOPES.get(fault, Scope.MESSAGE),
            self.peer,
            wait,
            is_address_dead=fault is Fault.DEAD,
        )

    def fault(self, status: int, code: str | None, text: str, otherwise: Fault | None = None) -> Fault:
        """The first rule that covers the reply, the provider's before the common ones."""
        if status == 400 and any(one in text.lower() for one in _WANT_TLS):
            return Fault.ACCOUNT
        for rule in (*self.rules, *COMMON):
            if rule.covers(status, code, text):
                return rule.fault
        if otherwise is not None:
            return otherwise
        return Fault.TRANSIENT if status >= 500 or status < 400 else Fault.PERMANENT


def is_page(reply: HttpResponse) -> bool:
    """Whether the body is markup, whatever its type is said to be: Slack says `text/html` of plain words."""
    return reply.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _place(url: str) -> str:
    """Scheme and host: paths and queries may be secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "what is no URL"
    return f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another path"


def _status(reply: HttpResponse) -> str:
    return f"{reply.code} {reply.reason}" if reply.reason else str(reply.code)

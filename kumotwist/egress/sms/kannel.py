"""Kannel and the gateways that speak its `sendsms`: one request for each text, as POST or GET.

A POST carries the text as its body and all else in headers, so that neither
words nor password stand in the logs of proxies; GET is for gateways that know
nothing else.

https://www.kannel.org/download/1.4.5/userguide-1.4.5/userguide.html

Public: `KannelKind`, `KannelOptions`, `Kannel`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal

from attrs import evolve, frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import Duration, option, options
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.jsonapi import text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.sms.gateway import Text, digits, plan_texts, refused, taken
from kumotwist.egress.sms.options import CallbackOptions, validity
from kumotwist.net.http import HttpRequest, HttpResponse, clean_header
from kumotwist.net.httpform import url_encoded

#: Minutes that Kannel keeps a text: three days, what it says itself that centres take; the least is its unit.
MAX_VALIDITY: Final = 4320
#: What Kannel fills in when it reports: kind, the centre's words, number, the centre's id and time.
_REPORT: Final = "&type=%d&answer=%A&to=%p&smsid=%F&ts=%T"
#: Kannel's values for the GSM alphabet and UCS-2.
_GSM: Final = "0"
_UCS2: Final = "2"
#: `0: Accepted for delivery`, `3: Queued for later delivery`; `Sent.` with immediate-sendsms-reply.
_TAKEN: Final = re.compile(r"[03]: |Sent\b")

RULES: Final = (
    Rule(Fault.PERMANENT, (403,), says="not routable", meaning="no centre takes that number"),
    Rule(Fault.ACCOUNT, (404,), meaning="`path` is not where sendsms is"),
    Rule(Fault.TRANSIENT, (400,), says="sender missing", meaning="nobody names a sender: `sender` does"),
    Rule(Fault.PERMANENT, (400,), meaning="a parameter is wrong, or the number on a list"),
    Rule(Fault.TRANSIENT, (503,), meaning="its queues are full or no centre is there"),
)


@options
class KannelOptions(CallbackOptions):
    """Text messages by Kannel's HTTP interface."""

    channel: ClassVar[str] = "kannel"

    base_url: str = option("Where smsbox listens, as `http://kannel.example:13013`.")
    username: str = option("A sendsms-user's name.")
    password: KeySource = option("Its password.", secret=True)
    path: str = option("Where sendsms is.", default="/cgi-bin/sendsms")
    method: Literal["POST", "GET"] = option("`GET` for gateways that only speak as Kannel does.", default="POST")
    smsc: str | None = option("The centre to send by, by its smsc-id.", default=None)
    service: str | None = option("The name for Kannel's accounting.", default=None)
    reports: int = option(
        "What is reported to `status_url`: the sum of 1 delivered, 2 failed, 4 buffered, 8 taken, 16 refused.",
        default=19,
    )
    validity: Duration | None = validity()


@frozen(eq=False)
class Kannel:
    """Implements `egress.api.dialect.Dialect`."""

    options: KannelOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        request = self._post if self.options.method == "POST" else self._get
        return plan_texts(batch, self.options, self.judge, request, now)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """Name and password, as headers or in the query."""
        user, password = self.options.username, secrets["password"]
        if request.method == b"POST":
            named = with_header(request, b"X-Kannel-Username", user)
            return with_header(named, b"X-Kannel-Password", password)
        query = url_encoded([("username", user), ("password", password)]).decode()
        return evolve(request, url=f"{request.url}&{query}")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """202 is a yes, now or for later, and so are its words; Kannel gives no id, reports bring ours."""
        text = text_of(reply)
        if 200 <= reply.code < 300:
            if reply.code != 202 and not _TAKEN.match(text):
                raise Unreadable(f"{reply.code} without the words of Kannel")
            return taken(self.judge, reply, call, None, words=text)
        return refused(self.judge, reply, call, text)

    def _fields(self, text: Text) -> list[tuple[str, str]]:
        """All but login and words, by the names that both forms share."""
        chosen = self.options
        fields = [
            ("from", digits(text.sender or "")),
            ("to", digits(text.to)),
            ("coding", _UCS2 if text.is_unicode else _GSM),
            ("smsc", chosen.smsc or ""),
            ("account", chosen.service or ""),
        ]
        minutes = text.validity(chosen.validity, 1, MAX_VALIDITY, 60)
        callback = text.callback(chosen.status_url)
        if minutes is not None:
            fields.append(("validity", str(minutes)))
        if callback is not None and chosen.reports:
            fields += [("dlr-mask", str(chosen.reports)), ("dlr-url", callback + _REPORT)]
        return [(name, value) for name, value in fields if value]

    def _post(self, text: Text) -> HttpRequest:
        headers = [(b"Content-Type", b"text/plain; charset=UTF-8")]
        headers += [clean_header(f"X-Kannel-{name}".encode(), value.encode()) for name, value in self._fields(text)]
        return HttpRequest(b"POST", self._url(), tuple(headers), text.words.encode())

    def _get(self, text: Text) -> HttpRequest:
        query = url_encoded([*self._fields(text), ("charset", "UTF-8"), ("text", text.words)]).decode()
        return HttpRequest(b"GET", f"{self._url()}?{query}")

    def _url(self) -> str:
        return self.options.base_url + self.options.path


class KannelKind(ApiKind):
    """Makes Kannel channels."""

    options = KannelOptions

    def dialect(self, options: KannelOptions, peer: Peer) -> Kannel:
        """For one sendsms-user."""
        return Kannel(options, self.judge(peer, RULES, options))

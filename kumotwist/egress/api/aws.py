"""What channels over AWS share: credentials, signed requests, names of errors.

Public: `AwsOptions`, `AwsAccount`, `signed`, `error_of`, `ACCOUNT_RULES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.json import at
from kumotwist.egress.api.jsonapi import json_of, text_of
from kumotwist.egress.api.judge import Fault, Rule
from kumotwist.egress.api.options import ApiOptions
from kumotwist.net.http import HttpRequest, HttpResponse, clean_header
from kumotwist.proto.sign.sigv4 import AwsKey, sign

_REFUSED_KEY: Final = (
    *("AccessDeniedException", "ExpiredTokenException", "IncompleteSignature", "InvalidClientTokenId"),
    *("OptInRequired", "RequestExpired", "UnrecognizedClientException"),
)
#: What every AWS service may say under 400 though the request itself is in order.
ACCOUNT_RULES: Final = (
    *(Rule(Fault.ACCOUNT, (400,), code, meaning="our key, token or clock") for code in _REFUSED_KEY),
    Rule(Fault.THROTTLED, (400,), "ThrottlingException", meaning="too many requests"),
)


@options
class AwsOptions(ApiOptions):
    """Region and credentials."""

    region: str = option("The AWS region, like `eu-west-1`.")
    access_key_id: KeySource = option("The access key's id.")
    secret_access_key: KeySource = option("The access key's secret.", secret=True)
    session_token: KeySource | None = option(
        "The token that temporary credentials come with.", default=None, secret=True
    )
    base_url: str = option("Where its API is; none: the region's.", default="")


def signed(request: HttpRequest, secrets: Mapping[str, str], region: str, service: str, now: float) -> HttpRequest:
    """The request with Signature Version 4. Raises ValueError for a key that cannot stand in a header."""
    key = AwsKey(secrets["access_key_id"], secrets["secret_access_key"], secrets.get("session_token"))
    given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
    added = sign(key, region, service, now, request.method.decode(), request.url, given, request.body or b"")
    more = [clean_header(name.encode(), value.encode()) for name, value in added]
    return evolve(request, headers=(*request.headers, *more))


def error_of(reply: HttpResponse) -> tuple[str | None, str]:
    """The error's name and text."""
    answer = json_of(reply)
    said = reply.header("x-amzn-errortype") or str(at(answer, "__type") or at(answer, "code") or "")
    name = said.partition(":")[0].rpartition("#")[2]
    text = at(answer, "message") or at(answer, "Message") or ("" if answer else text_of(reply))
    return name or None, str(text)

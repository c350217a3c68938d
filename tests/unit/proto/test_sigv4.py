"""AWS signatures, against botocore's own signer."""

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from kumotwist.proto.sign.sigv4 import AwsKey, sign

NOW = 1_800_000_000.0


@pytest.mark.parametrize("token", [None, "session/token=="])
@pytest.mark.parametrize(
    "url",
    [
        "https://email.eu-west-1.amazonaws.com/v2/email/outbound-emails",
        "http://127.0.0.1:5000/",
        "https://host.example/a%20b/c?x=1&b=&a=%2F+~",
    ],
)
def test_signs_as_botocore_does(monkeypatch, url, token):
    """The same request, key and time give the same Authorization header."""
    moment = "20270115T080000Z"
    monkeypatch.setattr(SigV4Auth, "_modify_request_before_signing", _without_a_date_of_its_own)
    body, kind = b'{"x":"\xc3\xa4"}', "application/json"
    request = AWSRequest("POST", url, {"Content-Type": kind}, body)
    request.context["timestamp"] = moment
    request.headers["X-Amz-Date"] = moment
    if token:
        request.headers["X-Amz-Security-Token"] = token
    theirs = SigV4Auth(Credentials("AKID", "secret", token), "ses", "eu-west-1")
    canonical = theirs.canonical_request(request)
    signature = theirs.signature(theirs.string_to_sign(request, canonical), request)
    ours = dict(
        sign(AwsKey("AKID", "secret", token), "eu-west-1", "ses", NOW, "POST", url, [("Content-Type", kind)], body)
    )
    assert ours["X-Amz-Date"] == moment
    assert ours["Authorization"].endswith(f"Signature={signature}")


def _without_a_date_of_its_own(self, request):
    assert isinstance(request.headers, HTTPHeaders)


def test_a_key_never_shows():
    """Neither in a log nor in an error."""
    assert "secret" not in repr(AwsKey("AKID", "secret", "token")).replace("secret_access_key", "")

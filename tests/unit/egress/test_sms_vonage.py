"""Vonage's SMS API for accounts that want signatures instead of their secret."""

from urllib.parse import parse_qsl

import pytest
from support.fakes_egress import make_message
from vonage_http_client import Auth

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.receipts import VonageReceipts
from kumotwist.core.errors import ConfigError
from kumotwist.core.outcome import Peer
from kumotwist.egress.api.judge import Judge
from kumotwist.egress.protocols import protocol
from kumotwist.egress.sms.vonage import RULES, Vonage, VonageOptions
from kumotwist.proto.receipts import vonage as receipts
from kumotwist.proto.receipts.callback import Callback, Unproven

NOW = 1_700_000_000.0
JUDGE = Judge(Peer("gw", "gw", "HTTP"), RULES, 300.0, lambda: NOW)


@pytest.mark.parametrize("method", ["md5hash", "md5", "sha1", "sha256", "sha512"])
def test_a_signature_verifies_as_vonages_own_do(method):
    """Vonage's own library agrees with all but `md5hash`, which it does not know; the secret stays here."""
    secret = LiteralKey(b"s3cret")
    vonage = Vonage(
        VonageOptions(api_key="abcd1234", signature_secret=secret, signature_method=method, sender="SHOP"), JUDGE
    )
    (call,) = vonage.plan([make_message("+4930123456@sms", body=b"Subject: x\r\n\r\na=b&c \xc3\xbc\r\n")], NOW)
    request = vonage.authorize(call.request, {"signature_secret": "s3cret"}, NOW)
    fields = dict(parse_qsl(request.body.decode()))
    assert fields["text"] == "a=b&c ü"
    assert (fields["api_key"], fields["timestamp"]) == ("abcd1234", str(int(NOW)))
    assert "api_secret" not in fields
    assert b"s3cret" not in request.body
    if method != "md5hash":
        judge = Auth(api_key="abcd1234", signature_secret="s3cret", signature_method=method)
        assert judge.check_signature(dict(fields))
    options = VonageReceipts(signature_secret=secret, signature_method=method)
    form = {"content-type": "application/x-www-form-urlencoded"}
    callback = Callback(method="POST", url="https://a.test/", header=form.get, body=request.body)
    assert receipts.verify(callback, options, {"signature_secret": "s3cret"}, NOW) == fields["sig"]
    with pytest.raises(Unproven):
        receipts.verify(callback, options, {"signature_secret": "another"}, NOW)


@pytest.mark.parametrize("given", [{}, {"api_secret": "/etc/a", "signature_secret": "/etc/b"}])
def test_there_is_one_way_to_log_in(given):
    """A secret or a signature."""
    with pytest.raises(ConfigError, match="must have either"):
        protocol({"vonage": {"api_key": "abcd1234", **given}}, "test")

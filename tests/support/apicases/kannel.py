"""Kannel's sendsms as the contract suite meets it; the real one in tests/contract/test_kannel.py."""

from support.apicases.case import ApiCase, Said
from support.apicases.texts import COMMON, STATUS_URL, TO, WORDS, callback

from kumotwist.config.option import Duration
from kumotwist.egress.sms.kannel import KannelOptions


def check(seen, spool_id):
    assert seen.method == "POST"
    assert seen.header("content-type") == "text/plain; charset=UTF-8"
    assert seen.body.decode() == WORDS
    named = {
        name.removeprefix("x-kannel-"): value
        for name, (value,) in seen.headers.items()
        if name.startswith("x-kannel-") and name != "x-kannel-password"
    }
    assert named == {
        "username": "me",
        "from": "SHOP",
        "to": TO.removeprefix("+"),
        "coding": "0",
        "validity": "10",
        "dlr-mask": "19",
        "dlr-url": f"{callback(spool_id)}&type=%d&answer=%A&to=%p&smsid=%F&ts=%T",
    }


CASE = ApiCase(
    name="kannel",
    options=lambda url, key: KannelOptions(
        base_url=url, password=key, username="me", sender="SHOP", status_url=STATUS_URL, validity=Duration(600.0)
    ),
    path="/cgi-bin/sendsms",
    accepted=Said(202, b"0: Accepted for delivery"),
    remote_id=None,
    permanent=[
        Said(400, b"Missing receiver number, rejected"),
        Said(403, b"Not routable. Do not try again."),
    ],
    account=[Said(403, b"Authorization failed for sendsms"), Said(404, b"")],
    transient=[
        Said(400, b"Sender missing and no global set, rejected"),
        Said(503, b"Temporal failure, try again later."),
    ],
    check=check,
    shows=lambda seen, key: seen.header("x-kannel-password") == key,
    **COMMON,
)

"""The providers' stand-in answers as the providers do, and notices what they would."""

import base64
import io
import json

import pytest
from attrs import evolve
from support.provider_stand_in import check

from kumotwist.demo.providers import Asked
from kumotwist.demo.standin_http import StandIn

BASIC = "Basic " + base64.b64encode(b"api:k").decode()
MIME = "Message-ID: <given@example.com>\r\nSubject: x\r\n\r\nhi\r\n"
FORM = (
    '--b\r\nContent-Disposition: form-data; name="to"\r\n\r\na@b.c\r\n'
    '--b\r\nContent-Disposition: form-data; name="message"; filename="mime.msg"\r\n\r\n' + MIME + "\r\n--b--\r\n"
)
SENDGRID = {
    "personalizations": [{"to": [{"email": "a@b.c"}]}],
    "from": {"email": "s@b.c"},
    "subject": "x",
    "content": [{"type": "text/plain", "value": "hi"}],
}
SPARKPOST = {"recipients": [{"address": {"email": "a@b.c"}}], "content": {"email_rfc822": MIME}}

GOOD = {
    "/v3/mail/send": Asked(
        {"authorization": "Bearer k", "content-type": "application/json"}, json.dumps(SENDGRID).encode()
    ),
    "/v3/example.com/messages.mime": Asked(
        {"authorization": BASIC, "content-type": "multipart/form-data; boundary=b"}, FORM.encode()
    ),
    "/api/v1/transmissions": Asked(
        {"authorization": "k", "content-type": "application/json"}, json.dumps(SPARKPOST).encode()
    ),
}


def test_a_good_request_is_accepted_with_an_id():
    """SendGrid: 202, no body, X-Message-Id. Mailgun: 200 and the Message-ID. SparkPost: 200 and counts."""
    stand_in = StandIn("k")
    sendgrid, mailgun, sparkpost = (stand_in.answer("POST", path, asked) for path, asked in GOOD.items())
    assert (sendgrid.status, sendgrid.body) == (202, None)
    assert len(sendgrid.headers["X-Message-Id"]) == 22
    assert (mailgun.status, mailgun.body) == (200, {"id": "<given@example.com>", "message": "Queued. Thank you."})
    assert sparkpost.status == 200
    assert sparkpost.body["results"]["total_accepted_recipients"] == 1
    assert sparkpost.body["results"]["id"].isdecimal()
    assert stand_in.answer("GET", "/stand-in/count", Asked({}, b"")).body == {
        "requests": 3,
        "accepted": 3,
        "failed": 0,
        "refused": 0,
    }


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("credential", ["", "Bearer wrong", "wrong", "Basic !!", "Basic YXBpOndyb25n"])
def test_a_wrong_key_is_401(path, credential):
    """Each vendor checks its own form of the credential."""
    asked = evolve(GOOD[path], headers=GOOD[path].headers | {"authorization": credential})
    assert StandIn("k").answer("POST", path, asked).status == 401


@pytest.mark.parametrize("path", GOOD)
def test_one_vendors_credential_is_not_anothers(path):
    """A policy that mixes them up is found out."""
    for other, asked in GOOD.items():
        mixed = evolve(GOOD[path], headers=GOOD[path].headers | {"authorization": asked.headers["authorization"]})
        assert (StandIn().answer("POST", path, mixed).status == 401) == (other != path)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v3/mail/send", b"{", 400),
        ("/v3/mail/send", json.dumps(SENDGRID | {"personalizations": []}).encode(), 400),
        ("/v3/mail/send", json.dumps(SENDGRID | {"subject": ""}).encode(), 400),
        ("/v3/mail/send", json.dumps(SENDGRID | {"content": []}).encode(), 400),
        ("/v3/mail/send", json.dumps(SENDGRID | {"from": {}}).encode(), 400),
        ("/v3/mail/send", json.dumps(SENDGRID | {"personalizations": [{"to": [{"email": "x"}]}]}).encode(), 400),
        ("/v3/example.com/messages.mime", b"", 400),
        ("/v3/example.com/messages.mime", FORM.replace("a@b.c", "x").encode(), 400),
        ("/v3/example.com/messages.mime", FORM.replace('; filename="mime.msg"', "").encode(), 400),
        ("/api/v1/transmissions", b"[]", 400),
        ("/api/v1/transmissions", json.dumps(SPARKPOST | {"recipients": []}).encode(), 400),
        ("/api/v1/transmissions", json.dumps(SPARKPOST | {"content": {}}).encode(), 400),
        ("/api/v1/transmissions", json.dumps(SPARKPOST | {"recipients": [{"address": "x"}]}).encode(), 400),
    ],
)
def test_what_the_vendor_would_refuse_is_refused(path, body, status):
    """A body with something missing is 400, and nothing counts as accepted."""
    stand_in = StandIn()
    assert stand_in.answer("POST", path, evolve(GOOD[path], body=body)).status == status
    assert stand_in.counts["refused"] == 1


def test_a_share_of_the_good_requests_fails_by_turns():
    """Counted, so the same run gives the same result, in the vendor's words."""
    stand_in = StandIn(share=0.25, failures=(429, 503))
    answers = [stand_in.answer("POST", path, GOOD[path]) for path in ["/v3/example.com/messages.mime"] * 12]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 200, 200, 200, 503, 200, 200, 200, 429]
    assert answers[3].body == {"message": "request limit exceeded, try again after 1 seconds"}
    assert stand_in.counts == {"requests": 12, "accepted": 9, "failed": 3, "refused": 0}


def test_an_outage_is_one_providers_and_ends_by_itself():
    """SendGrid can be made to refuse everything for a while; nobody else does."""
    now = [100.0]
    stand_in = StandIn(now=lambda: now[0])
    sendgrid, sparkpost = "/v3/mail/send", "/api/v1/transmissions"
    stand_in.answer("POST", "/stand-in/outage", Asked({}, b'{"provider": "sendgrid", "seconds": 6}'))
    now[0] = 105.9
    assert stand_in.answer("POST", sendgrid, GOOD[sendgrid]).status == 503
    assert stand_in.answer("POST", sparkpost, GOOD[sparkpost]).status == 200
    now[0] = 106.0
    assert stand_in.answer("POST", sendgrid, GOOD[sendgrid]).status == 202
    assert stand_in.counts == {"requests": 3, "accepted": 2, "failed": 1, "refused": 0}


def test_other_paths_and_methods():
    """There is nothing else."""
    assert StandIn().answer("POST", "/nothing", Asked({}, b"")).status == 404
    assert StandIn().answer("GET", "/v3/mail/send", Asked({}, b"")).status == 405


def test_recorded_requests_are_checked_against_the_vendors_descriptions():
    """What is written down holds no key, and fits the published schemas; what does not fit is noticed."""
    output = io.StringIO()
    stand_in = StandIn(output=output)
    for path, asked in GOOD.items():
        stand_in.answer("POST", path, asked)
    entries = [json.loads(line) for line in output.getvalue().splitlines()]
    for entry in entries:
        assert "authorization" not in entry["headers"]
        check(entry)
    entries[0]["json"]["personalizations"] = "a@b.c"
    entries[1]["form"][1]["file_name"] = None
    entries[2]["json"]["email_rfc822"] = "x"
    for entry in entries:
        with pytest.raises(Exception, match=r".+"):
            check(entry)

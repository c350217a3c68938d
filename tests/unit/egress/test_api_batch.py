"""Several e-mails in one request: who travels with whom, and what a refusal of all of them means."""

import json

import pytest
from support.apicases import brevo as brevo_case
from support.apicases import mailjet as mailjet_case
from support.apicases import postmark as postmark_case
from support.apicases import resend as resend_case
from support.fakes_egress import make_message

from kumotwist.config.keysource import LiteralKey
from kumotwist.core.outcome import Peer, Verdict
from kumotwist.egress.api.batch import Email, packed, spelled
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.judge import Judge
from kumotwist.egress.esp import brevo as brevo_module
from kumotwist.egress.esp import mailjet as mailjet_module
from kumotwist.egress.esp import postmark as postmark_module
from kumotwist.egress.esp import resend as resend_module
from kumotwist.egress.esp.brevo import Brevo, BrevoOptions
from kumotwist.egress.esp.mailjet import Mailjet, MailjetOptions
from kumotwist.egress.esp.postmark import Postmark, PostmarkOptions
from kumotwist.egress.esp.resend import Resend, ResendOptions
from kumotwist.net.http import HttpResponse
from kumotwist.proto.mime import builder
from kumotwist.proto.mime.addresses import Address

KEY = LiteralKey(b"k")
SIGNED = b"Content-Type: multipart/signed; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a\r\n\r\ny\r\n--a--\r\n"


def judge(rules=()):
    return Judge(Peer("p", "p", "HTTP"), rules, 300.0, lambda: 0.0)


def postmark(**more):
    return Postmark(PostmarkOptions(server_token=KEY, **more), judge(postmark_module.RULES))


def mailjet(**more):
    return Mailjet(MailjetOptions(api_key="a", secret_key=KEY, **more), judge(mailjet_module.RULES))


def resend(**more):
    return Resend(ResendOptions(api_key=KEY, **more), judge(resend_module.RULES))


def brevo(**more):
    return Brevo(BrevoOptions(api_key=KEY, **more), judge(brevo_module.RULES))


def reply(code, body):
    return HttpResponse(code, (), json.dumps(body).encode())


def sent(call):
    return json.loads(call.request.body)


def email(attempts=0, size=10):
    return Email((0, 0), {}, size, attempts, False, "")


@pytest.mark.parametrize(
    ("attempts", "sizes"),
    [
        ([0] * 7, [5, 2]),
        ([0, 0, 1, 0], [2, 1, 1]),  # a quarter of five is one
        ([1, 0, 0], [1, 2]),
        ([0] * 5, [5]),
        ([], []),
    ],
)
def test_groups_have_a_bound_that_shrinks_with_each_attempt(attempts, sizes):
    """What was refused in company before goes in smaller company, in the order in which it came."""
    groups = packed([email(one) for one in attempts], 5, 1_000)
    assert [len(one) for one in groups] == sizes
    assert [one.attempts for group in groups for one in group] == attempts


def test_a_message_that_failed_before_takes_few_along():
    """A quarter for each attempt: 500, 125, 31, 7, 1."""
    for attempts, most in ((0, 500), (1, 125), (2, 31), (3, 7), (4, 1), (100, 1)):
        groups = packed([email(attempts)] * 600, 500, 10**9)
        assert len(groups[0]) == most
        assert sum(len(one) for one in groups) == 600


def test_groups_have_a_bound_in_octets():
    """A provider takes so many megabytes in one request; a message that is larger goes alone."""
    groups = packed([email(size=40), email(size=40), email(size=500), email(size=10)], 100, 100)
    assert [len(one) for one in groups] == [2, 1, 1]


@pytest.mark.parametrize(
    ("address", "written"),
    [
        (Address("", "a@b.test"), "a@b.test"),
        (Address("Ann Müller", "a@b.test"), "Ann Müller <a@b.test>"),
        (Address("Müller, Ann", "a@b.test"), '"Müller, Ann" <a@b.test>'),
        (Address('A "x" \\', "a@b.test"), '"A \\"x\\" \\\\" <a@b.test>'),
        (Address("x <evil@c.test>", "a@b.test"), '"x <evil@c.test>" <a@b.test>'),
    ],
)
def test_names_cannot_add_addresses(address, written):
    """A display name is a stranger's text."""
    assert spelled(address) == written


@pytest.mark.parametrize("make", [postmark, mailjet, resend])
def test_many_messages_go_in_one_request(make):
    """Each recipient gets an e-mail of their own; what cannot be sent in parts is refused alone."""
    batch = [make_message("a@d.test", "b@d.test"), make_message("c@d.test", body=SIGNED), make_message("e@d.test")]
    refused, call = make().plan(batch, 0.0)
    assert isinstance(refused, Refused)
    assert refused.targets == ((1, 0),)
    assert "not representable" in refused.outcome.response.content
    assert isinstance(call, Call)
    assert call.targets == ((0, 0), (0, 1), (2, 0))


def test_postmark_answers_for_each():
    """One inactive recipient costs the others nothing; an answer that is too short tells nothing."""
    dialect = postmark(message_stream="broadcast", tag="t", track_opens=True)
    (call,) = dialect.plan([make_message("a@d.test"), make_message("b@d.test")], 0.0)
    assert [one["To"] for one in sent(call)] == ["a@d.test", "b@d.test"]
    assert {(one["MessageStream"], one["Tag"], one["TrackOpens"]) for one in sent(call)} == {("broadcast", "t", True)}
    good, bad = {"ErrorCode": 0, "MessageID": "1"}, {"ErrorCode": 406, "Message": "inactive"}
    outcomes = dialect.classify(call, reply(200, [good, bad]))
    assert [one.verdict for one in outcomes] == [Verdict.DELIVERED, Verdict.PERMANENT]
    with pytest.raises(Unreadable):
        dialect.classify(call, reply(200, [good]))


def test_mailjet_answers_for_each_under_any_status():
    """400 with a success in it was sent: to try it again would send it twice."""
    dialect = mailjet(sandbox=True, campaign="autumn")
    message = make_message("a@d.test", "b@d.test", body=b"Message-ID: <1@x>\r\nX-Mailer: m\r\nX-A: 1\r\n\r\nx")
    (call,) = dialect.plan([message], 0.0)
    assert sent(call)["SandboxMode"] is True
    assert sent(call)["Messages"][0]["Headers"] == {"X-A": "1"}
    entries = [
        {"Status": "success", "To": [{"MessageID": 1}]},
        {"Status": "error", "Errors": [{"ErrorCode": "mj-0013", "ErrorMessage": "no address"}]},
    ]
    outcomes = dialect.classify(call, reply(400, {"Messages": entries}))
    assert [one.verdict for one in outcomes] == [Verdict.DELIVERED, Verdict.PERMANENT]
    assert "mj-0013 no address" in outcomes[1].response.content


def test_resend_takes_good_ones_although_others_are_wrong():
    """Permissive: ids for those that were taken, in order, and the places of those that were not."""
    dialect = resend()
    (call,) = dialect.plan([make_message(f"{name}@d.test") for name in "abc"], 0.0)
    assert (b"x-batch-validation", b"permissive") in call.request.headers
    assert call.request.url.endswith("/emails/batch")
    assert not call.is_idempotent
    resend_case.BATCH.validate(sent(call))
    answer = {"data": [{"id": "1"}, {"id": "3"}], "errors": [{"index": 1, "message": "bad address"}]}
    outcomes = dialect.classify(call, reply(200, answer))
    assert [(one.verdict, one.remote_id) for one in outcomes] == [
        (Verdict.DELIVERED, "1"),
        (Verdict.PERMANENT, None),
        (Verdict.DELIVERED, "3"),
    ]
    with pytest.raises(Unreadable):
        dialect.classify(call, reply(200, {"data": [{"id": "1"}]}))


def test_resend_sends_files_alone_and_knows_the_request_again():
    """Batches drop files in silence; the key is the same for each attempt, and another for another text."""
    file = builder.attachment_part(b"x", "application/pdf", file_name="a.pdf")
    body = builder.message([b"Subject: s\r\n"], builder.assemble([builder.text_part("t", "plain")], [file], []))
    with_file, plain = make_message("a@d.test", body=body), [make_message("b@d.test"), make_message("c@d.test")]
    dialect = resend()
    alone, together = dialect.plan([plain[0], with_file, plain[1]], 0.0)
    assert (alone.targets, together.targets) == (((1, 0),), ((0, 0), (2, 0)))
    assert alone.is_idempotent
    assert sent(alone)["attachments"] == [{"filename": "a.pdf", "content": "eA==", "content_type": "application/pdf"}]

    def key(message):
        (call,) = resend(batch_size=1).plan([message], 0.0)
        return dict(call.request.headers)[b"Idempotency-Key"]

    before = key(with_file)
    assert key(with_file) == before
    with_file.set_body(body + b"\r\n--more")
    with_file.set_body(body.replace(b"Subject: s", b"Subject: other"))
    assert key(with_file) != before


@pytest.mark.parametrize("make", [postmark, mailjet, resend])
def test_a_request_refused_as_a_whole_bounces_nobody_who_was_in_company(make):
    """Nobody knows whose fault it was; alone, it is the message's own."""
    dialect = make()
    (call,) = dialect.plan([make_message("a@d.test"), make_message("b@d.test")], 0.0)
    outcomes = dialect.classify(call, reply(422, {"ErrorCode": 402, "message": "wrong", "name": "validation_error"}))
    assert [one.verdict for one in outcomes] == [Verdict.TRANSIENT] * 2
    assert "one of 2, to be tried with fewer" in outcomes[0].response.content
    (call,) = dialect.plan([make_message("a@d.test")], 0.0)
    (outcome,) = dialect.classify(call, reply(422, {}))
    assert outcome.verdict is Verdict.PERMANENT


@pytest.mark.parametrize(
    ("make", "case"),
    [(postmark, postmark_case), (mailjet, mailjet_case), (resend, resend_case), (brevo, brevo_case)],
)
def test_files_pictures_and_all_headers_are_as_the_vendor_describes_them(make, case):
    """The fullest message there is, held against the vendor's schema."""
    picture = builder.attachment_part(b"p", "image/png", file_name="logo.png", content_id="c1")
    file = builder.attachment_part(b"x", "application/pdf", file_name="Größe.pdf")
    texts = [builder.text_part("t", "plain"), builder.text_part("<img src='cid:c1'>", "html")]
    headers = [
        b'From: "Ann, A" <a@src.test>\r\nReply-To: R <r@src.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n',
        b"To: B <b@dest.test>\r\nList-Unsubscribe: <https://u.test>\r\nX-A: 1\r\n",
    ]
    body = builder.message(headers, builder.assemble(texts, [file], [picture]))
    (call,) = make().plan([make_message("b@dest.test", body=body)], 0.0)
    case.SCHEMA.validate(sent(call))
    text = json.dumps(sent(call), ensure_ascii=False)
    for expected in ("Ann, A", "r@src.test", "Grüße", "Größe.pdf", "logo.png", "https://u.test"):
        assert expected in text


def test_brevo_shows_no_pictures_and_says_so():
    """What is lost is in the record; of several Reply-To the first goes along."""
    picture = builder.attachment_part(b"p", "image/png", file_name="logo.png", content_id="c1")
    root = builder.assemble([builder.text_part("<img src='cid:c1'>", "html")], [], [picture])
    message = make_message(body=builder.message([b"Reply-To: a@b.test, c@d.test\r\n"], root))
    dialect = brevo(tags=("t",))
    (call,) = dialect.plan([message], 0.0)
    value = sent(call)
    assert value["attachment"] == [{"name": "logo.png", "content": "cA=="}]
    assert (value["replyTo"], value["tags"]) == ({"email": "a@b.test"}, ["t"])
    (outcome,) = dialect.classify(call, reply(201, {"messageId": "<1>"}))
    assert outcome.response.content.endswith("lost: inline (logo.png), address (reply-to)")


@pytest.mark.parametrize("make", [mailjet, resend, brevo])
def test_a_header_that_stands_there_twice_goes_once(make):
    """A JSON object has a name once; what is left out is in the record, and Received is nobody's loss."""
    body = b"Received: a\r\nReceived: b\r\nComments: one\r\ncomments: two\r\nSubject: s\r\n\r\nx"
    (call,) = make().plan([make_message(body=body)], 0.0)
    text = json.dumps(sent(call))
    assert '"Comments": "one"' in text
    assert "two" not in text
    assert "header_again (comments)" in str(call.note)
    assert "received" not in str(call.note)


def test_brevo_does_not_tell_what_became_of_the_first_request():
    """A key that it has seen: nothing is sent, and whether it was before is the operator's question to answer."""
    dialect = brevo()
    message = make_message("a@d.test", "b@d.test")
    keys = [sent(call)["headers"]["idempotencyKey"] for call in dialect.plan([message], 0.0)]
    assert len(set(keys)) == 2
    message.attempts += 1
    calls = dialect.plan([message], 0.0)
    assert [sent(call)["headers"]["idempotencyKey"] for call in calls] == keys
    with pytest.raises(Unreadable, match="had this request before"):
        dialect.classify(calls[0], reply(400, {"code": "duplicate_parameter", "message": "seen"}))

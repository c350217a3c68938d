"""What each provider reports, in its own words, and what we make of it."""

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.receipts import Sns, call

from kumotwist.core.ids import from_hex
from kumotwist.core.receipt import ReceiptEvent
from kumotwist.proto.receipts.callback import Unreadable
from kumotwist.proto.receipts.reading import moment
from kumotwist.proto.receipts.schemes import SCHEMES

OURS = "3f0a3c2e8ac011efa1b20242ac120002"
AT = 1795462177


def form(query="", method="POST", **fields):
    return call(urlencode(fields).encode() if method == "POST" else b"", method, query or urlencode(fields))


def sns(event):
    return call(Sns().message(event))


def sendgrid(event, **more):
    return call(
        [
            {
                "event": event,
                "email": "u@example.org",
                "sg_message_id": "14c.dfd.64b.filter.1.0",
                "sg_event_id": "e",
                "timestamp": AT,
                "kumo_id": OURS,
                **more,
            }
        ]
    )


def mailgun(event, **more):
    data = {
        "event": event,
        "id": "i",
        "timestamp": AT + 0.5,
        "recipient": "u@example.org",
        "message": {"headers": {"message-id": "20@example.org"}},
        "user-variables": {"kumo_id": OURS},
        **more,
    }
    return call({"signature": {}, "event-data": data})


def sparkpost(kind, group="message_event", **more):
    event = {
        "type": kind,
        "event_id": "e",
        "transmission_id": "65832150921904138",
        "rcpt_to": "u@example.org",
        "timestamp": str(AT),
        "rcpt_meta": {"kumo_id": OURS},
        **more,
    }
    return call([{"msys": {group: event}}])


def postmark(kind, **more):
    return call(
        {"RecordType": kind, "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483", "Metadata": {"kumo_id": OURS}, **more}
    )


def ses(kind, member, details, key="eventType"):
    mail = {
        "messageId": "0100",
        "timestamp": "2026-11-23T19:29:37.000Z",
        "destination": ["u@example.org", "v@example.org"],
        "tags": {"kumo_id": [OURS], "ses:from-domain": ["example.org"]},
    }
    return sns({key: kind, "mail": mail, member: details})


def mailjet(event, **more):
    return call(
        {
            "event": event,
            "time": AT,
            "MessageID": 19421777835146490,
            "Message_GUID": "1ab23cd4-e567",
            "email": "u@example.org",
            "CustomID": "",
            "Payload": json.dumps({"kumo_id": OURS}),
            **more,
        }
    )


def brevo(event, **more):
    return call(
        {
            "event": event,
            "email": "u@example.org",
            "message-id": "<20@relay.example>",
            "ts_epoch": AT * 1000,
            "X-Mailin-custom": OURS,
            **more,
        }
    )


def resend(kind, **more):
    data = {"email_id": "56761188", "to": ["u@example.org"], "tags": {"kumo_id": OURS}, **more}
    return call({"type": kind, "created_at": "2026-11-23T19:29:37.000Z", "data": data}, svix_id="msg_1")


def twilio(status, **more):
    return form(f"kumo_id={OURS}", MessageSid="SM1", MessageStatus=status, To="+15551234567", **more)


def vonage(status, **more):
    return form(
        method="GET",
        messageId="0A0000000123ABCD1",
        msisdn="15551234567",
        status=status,
        **{"client-ref": OURS, "message-timestamp": "2026-11-23 19:29:37", **more},
    )


def vonage_messages(status, **more):
    return call(
        {
            "message_uuid": "aaaa-bbbb",
            "to": "15551234567",
            "status": status,
            "timestamp": "2026-11-23T19:29:37Z",
            "client_ref": OURS,
            "channel": "sms",
            **more,
        }
    )


def bird(status, **more):
    return call(
        {
            "service": "channels",
            "event": "sms.outbound",
            "payload": {
                "id": "b1",
                "status": status,
                "reference": OURS,
                "lastStatusAt": "2026-11-23T19:29:37Z",
                "receiver": {"contacts": [{"identifierValue": "+15551234567"}]},
                **more,
            },
        }
    )


def plivo(status, **more):
    return form(f"kumo_id={OURS}", MessageUUID="u2", ParentMessageUUID="u1", Status=status, To="15551234567", **more)


def sinch(status, code, **more):
    return call(
        {
            "type": "recipient_delivery_report_sms",
            "batch_id": "01X",
            "recipient": "15551234567",
            "code": code,
            "status": status,
            "at": "2026-11-23T19:29:37.000Z",
            "client_reference": OURS,
            **more,
        }
    )


def infobip(group, error=None, **more):
    result = {
        "messageId": "i1",
        "to": "15551234567",
        "doneAt": "2026-11-23T20:29:37.000+0100",
        "smsCount": 2,
        "status": {"groupId": group, "id": 5, "name": "SOME_NAME"},
        "callbackData": OURS,
        "error": error or {"groupId": 0, "name": "NO_ERROR", "description": "No Error"},
        **more,
    }
    return call({"results": [result]})


def telnyx(kind, status, errors=(), **more):
    payload = {
        "id": "40385f64",
        "parts": 2,
        "to": [{"phone_number": "+15551234567", "status": status}],
        "errors": list(errors),
        "tags": [f"kumo_id:{OURS}"],
        **more,
    }
    return call({"data": {"event_type": kind, "id": "e1", "occurred_at": "2026-11-23T19:29:37Z", "payload": payload}})


def aws_sms(kind, **more):
    return sns(
        {
            "eventType": kind,
            "eventTimestamp": AT * 1000,
            "messageId": "a1",
            "destinationPhoneNumber": "+15551234567",
            "messageStatusDescription": "said",
            "context": {"kumo_id": OURS},
            "totalMessageParts": 1,
            **more,
        }
    )


def kannel(kind, **more):
    return form(method="GET", kumo_id=OURS, type=kind, to="+15551234567", ts=str(AT), smsid="abc", **more)


MAIL, PHONE = "u@example.org", "15551234567"


@pytest.mark.parametrize(
    ("channel", "callback", "state", "class_", "text"),
    [
        ("sendgrid", sendgrid("processed"), "accepted", "", ""),
        ("sendgrid", sendgrid("deferred", response="451 later", attempt="3"), "deferred", "", "451 later"),
        ("sendgrid", sendgrid("delivered", response="250 OK"), "delivered", "", "250 OK"),
        ("sendgrid", sendgrid("bounce", type="bounce", reason="550 5.1.1 none"), "failed", "hard", "550 5.1.1 none"),
        ("sendgrid", sendgrid("bounce", type="blocked", reason="554 spam"), "failed", "block", "554 spam"),
        ("sendgrid", sendgrid("dropped", reason="Bounced Address"), "failed", "suppressed", "Bounced Address"),
        ("sendgrid", sendgrid("dropped", reason="Spam Content"), "failed", "content", "Spam Content"),
        ("sendgrid", sendgrid("open", useragent="Mozilla"), "opened", "", ""),
        ("sendgrid", sendgrid("click", url="http://x"), "clicked", "", ""),
        ("sendgrid", sendgrid("spamreport"), "complained", "", ""),
        ("sendgrid", sendgrid("group_unsubscribe"), "unsubscribed", "", ""),
        ("sendgrid", sendgrid("account_status_change"), "unknown", "", "account_status_change"),
        (
            "mailgun",
            mailgun("delivered", **{"delivery-status": {"code": 250, "message": "OK"}}),
            "delivered",
            "",
            "250 OK",
        ),
        (
            "mailgun",
            mailgun("failed", severity="permanent", **{"delivery-status": {"code": 550, "message": "none"}}),
            "failed",
            "hard",
            "550 none",
        ),
        (
            "mailgun",
            mailgun("failed", severity="temporary", **{"delivery-status": {"code": 421}}),
            "deferred",
            "soft",
            "",
        ),
        ("mailgun", mailgun("failed", severity="permanent", reason="suppress-bounce"), "failed", "suppressed", ""),
        ("mailgun", mailgun("failed", severity="permanent", reason="old"), "expired", "soft", ""),
        ("mailgun", mailgun("rejected", reject={"reason": "Sandbox"}), "failed", "account", "Sandbox"),
        ("mailgun", mailgun("complained"), "complained", "", ""),
        ("mailgun", mailgun("list_member_uploaded"), "unknown", "", "list_member_uploaded"),
        ("sparkpost", sparkpost("injection"), "accepted", "", ""),
        ("sparkpost", sparkpost("delivery"), "delivered", "", ""),
        ("sparkpost", sparkpost("bounce", bounce_class="10", raw_reason="550 none"), "failed", "hard", "550 none"),
        (
            "sparkpost",
            sparkpost("bounce", bounce_class="60", raw_reason="I am away"),
            "unknown",
            "autoreply",
            "I am away",
        ),
        ("sparkpost", sparkpost("bounce", bounce_class="90", raw_reason="unsub"), "unsubscribed", "hard", "unsub"),
        ("sparkpost", sparkpost("out_of_band", bounce_class="51", reason="spam"), "failed", "block", "spam"),
        ("sparkpost", sparkpost("delay", bounce_class="22", reason="full"), "deferred", "soft", "full"),
        ("sparkpost", sparkpost("policy_rejection", reason="554 listed"), "failed", "suppressed", "554 listed"),
        ("sparkpost", sparkpost("click", "track_event", target_link_url="http://x"), "clicked", "", ""),
        ("sparkpost", sparkpost("list_unsubscribe", "unsubscribe_event"), "unsubscribed", "", ""),
        (
            "postmark",
            postmark("Delivery", Recipient=MAIL, DeliveredAt="2026-11-23T19:29:37Z", Details="250 OK"),
            "delivered",
            "",
            "250 OK",
        ),
        (
            "postmark",
            postmark(
                "Bounce", Email=MAIL, Type="HardBounce", ID=42, BouncedAt="2026-11-23T19:29:37Z", Details="smtp;550"
            ),
            "failed",
            "hard",
            "smtp;550",
        ),
        (
            "postmark",
            postmark("Bounce", Email=MAIL, Type="Transient", BouncedAt="2026-11-23T19:29:37Z"),
            "deferred",
            "soft",
            "",
        ),
        (
            "postmark",
            postmark("Bounce", Email=MAIL, Type="AutoResponder", BouncedAt="2026-11-23T19:29:37Z"),
            "unknown",
            "autoreply",
            "",
        ),
        ("postmark", postmark("SpamComplaint", Email=MAIL, BouncedAt="2026-11-23T19:29:37Z"), "complained", "", ""),
        (
            "postmark",
            postmark("SubscriptionChange", Recipient=MAIL, ChangedAt="2026-11-23T19:29:37Z", SuppressSending=True),
            "unsubscribed",
            "",
            "",
        ),
        ("postmark", postmark("Open", Recipient=MAIL, ReceivedAt="2026-11-23T19:29:37.0000000Z"), "opened", "", ""),
        (
            "ses",
            ses(
                "Bounce",
                "bounce",
                {
                    "bounceType": "Permanent",
                    "bounceSubType": "General",
                    "bouncedRecipients": [{"emailAddress": MAIL, "diagnosticCode": "smtp; 550 5.1.1"}],
                },
            ),
            "failed",
            "hard",
            "smtp; 550 5.1.1",
        ),
        (
            "ses",
            ses(
                "Bounce",
                "bounce",
                {
                    "bounceType": "Transient",
                    "bounceSubType": "MailboxFull",
                    "bouncedRecipients": [{"emailAddress": MAIL}],
                },
                "notificationType",
            ),
            "failed",
            "soft",
            "Transient: MailboxFull",
        ),
        (
            "ses",
            ses(
                "Bounce",
                "bounce",
                {
                    "bounceType": "Permanent",
                    "bounceSubType": "OnAccountSuppressionList",
                    "bouncedRecipients": [{"emailAddress": MAIL}],
                },
            ),
            "failed",
            "suppressed",
            "Permanent: OnAccountSuppressionList",
        ),
        (
            "ses",
            ses("Delivery", "delivery", {"recipients": [MAIL], "smtpResponse": "250 ok"}),
            "delivered",
            "",
            "250 ok",
        ),
        (
            "ses",
            ses(
                "Complaint",
                "complaint",
                {"complainedRecipients": [{"emailAddress": MAIL}], "complaintFeedbackType": "abuse"},
            ),
            "complained",
            "",
            "abuse",
        ),
        (
            "ses",
            ses(
                "DeliveryDelay",
                "deliveryDelay",
                {"delayType": "MailboxFull", "delayedRecipients": [{"emailAddress": MAIL, "diagnosticCode": "452"}]},
            ),
            "deferred",
            "soft",
            "452",
        ),
        ("mailjet", mailjet("sent", smtp_reply="250 OK"), "delivered", "", "250 OK"),
        (
            "mailjet",
            mailjet("bounce", hard_bounce=True, error="user unknown", comment="none"),
            "failed",
            "hard",
            "user unknown: none",
        ),
        ("mailjet", mailjet("bounce", hard_bounce=False, error="greylisted"), "deferred", "soft", "greylisted"),
        ("mailjet", mailjet("blocked", error="preblocked"), "failed", "suppressed", "preblocked"),
        ("mailjet", mailjet("unsub"), "unsubscribed", "", ""),
        ("brevo", brevo("request"), "accepted", "", ""),
        ("brevo", brevo("hard_bounce", reason="550"), "failed", "hard", "550"),
        ("brevo", brevo("unique_opened"), "opened", "", ""),
        ("brevo", brevo("blocked"), "failed", "suppressed", ""),
        (
            "brevo_sms",
            call(
                {
                    "msg_status": "delivered",
                    "messageId": 26122387,
                    "to": PHONE,
                    "description": "there",
                    "ts_event": AT,
                    "tag": OURS,
                }
            ),
            "delivered",
            "",
            "there",
        ),
        ("resend", resend("email.delivered"), "delivered", "", ""),
        ("resend", resend("email.bounced", bounce={"type": "Permanent", "message": "none"}), "failed", "hard", "none"),
        ("resend", resend("email.delivery_delayed"), "deferred", "", ""),
        (
            "resend",
            resend("email.suppressed", suppressed={"message": "on the list"}),
            "failed",
            "suppressed",
            "on the list",
        ),
        ("twilio", twilio("sent"), "accepted", "", "sent"),
        ("twilio", twilio("delivered"), "delivered", "", "delivered"),
        ("twilio", twilio("undelivered", ErrorCode="30005"), "failed", "hard", "30005 undelivered"),
        ("twilio", twilio("failed", ErrorCode="30036"), "expired", "soft", "30036 failed"),
        ("vonage", vonage("delivered", **{"err-code": "0"}), "delivered", "", "delivered"),
        ("vonage", vonage("failed", **{"err-code": "3"}), "failed", "hard", "failed err-code:3"),
        ("vonage", vonage("expired", **{"err-code": "12"}), "expired", "soft", "expired err-code:12"),
        ("vonage_messages", vonage_messages("submitted"), "accepted", "", "submitted"),
        ("vonage_messages", vonage_messages("read"), "opened", "", "read"),
        (
            "vonage_messages",
            vonage_messages("rejected", error={"title": "1240", "detail": "Illegal number"}),
            "failed",
            "suppressed",
            "1240 Illegal number",
        ),
        ("bird", bird("delivered"), "delivered", "", "delivered"),
        ("bird", bird("delivery_failed", reason="unknown_subscriber"), "failed", "hard", "unknown_subscriber"),
        (
            "bird",
            form(
                method="GET",
                id="b1",
                status="expired",
                recipient=PHONE,
                reference=OURS,
                statusReason="expired",
                statusDatetime="2026-11-23T19:29:37Z",
            ),
            "expired",
            "soft",
            "expired",
        ),
        ("plivo", plivo("delivered", PartInfo="2 of 3"), "delivered", "", "delivered"),
        ("plivo", plivo("undelivered", ErrorCode="50"), "failed", "hard", "50 undelivered"),
        ("plivo", plivo("failed", ErrorCode="420"), "expired", "soft", "420 failed"),
        ("sinch", sinch("Dispatched", 400), "accepted", "", "400 Dispatched"),
        ("sinch", sinch("Delivered", 0), "delivered", "", "Delivered"),
        ("sinch", sinch("Failed", 402), "failed", "hard", "402 Failed"),
        ("sinch", sinch("Aborted", 406), "expired", "soft", "406 Aborted"),
        ("sinch", sinch("Rejected", 408), "failed", "block", "408 Rejected"),
        ("infobip", infobip(3), "delivered", "", "SOME_NAME"),
        (
            "infobip",
            infobip(2, {"groupId": 1, "name": "EC_UNKNOWN_SUBSCRIBER", "description": "Unknown", "permanent": True}),
            "failed",
            "hard",
            "SOME_NAME EC_UNKNOWN_SUBSCRIBER Unknown",
        ),
        ("infobip", infobip(4), "expired", "soft", "SOME_NAME"),
        ("infobip", infobip(5), "failed", "block", "SOME_NAME"),
        ("telnyx", telnyx("message.sent", "sent"), "accepted", "", "sent"),
        ("telnyx", telnyx("message.finalized", "delivered"), "delivered", "", "delivered"),
        (
            "telnyx",
            telnyx("message.finalized", "delivery_failed", [{"code": "40001", "title": "Not routable"}]),
            "failed",
            "hard",
            "40001 Not routable",
        ),
        ("telnyx", telnyx("message.finalized", "delivery_unconfirmed"), "unknown", "", "delivery_unconfirmed"),
        ("aws_sms", aws_sms("TEXT_SUCCESSFUL"), "accepted", "", "said"),
        ("aws_sms", aws_sms("TEXT_DELIVERED"), "delivered", "", "said"),
        ("aws_sms", aws_sms("TEXT_UNREACHABLE"), "failed", "soft", "said"),
        ("aws_sms", aws_sms("TEXT_TTL_EXPIRED"), "expired", "soft", "said"),
        ("kannel", kannel("1", answer="id:1 stat:DELIVRD err:000"), "delivered", "", "id:1 stat:DELIVRD err:000"),
        ("kannel", kannel("2", answer="id:1 stat:EXPIRED err:004"), "expired", "soft", "id:1 stat:EXPIRED err:004"),
        ("kannel", kannel("8", answer="ACK/"), "accepted", "", "ACK/"),
        ("kannel", kannel("16", answer="NACK/"), "failed", "block", "NACK/"),
    ],
)
def test_events(channel, callback, state, class_, text):
    """Every kind of event that matters: what it is called here, why, and the provider's own words."""
    event = SCHEMES[channel].parse(callback)[0]
    assert (event.channel, event.state.value, event.class_.value, event.text) == (channel, state, class_, text)
    assert event.recipient.lstrip("+") in (MAIL, PHONE)
    assert event.remote_id
    if channel not in ("twilio", "plivo"):
        # These two have no time of their own; our id stands in the URL, which the intake looks at.
        assert event.event_time == pytest.approx(AT, abs=1)
        assert event.spool_id == from_hex(OURS)


def test_many_events_in_one_call():
    """Batches keep their order, and one event about several recipients is told for each."""
    events = [json.loads(sendgrid(kind).body)[0] for kind in ("processed", "delivered", "open")]
    assert [one.state.value for one in SCHEMES["sendgrid"].parse(call(events))] == ["accepted", "delivered", "opened"]
    both = SCHEMES["ses"].parse(ses("Send", "send", {}))
    assert [one.recipient for one in both] == ["u@example.org", "v@example.org"]
    assert len({one.event_id for one in both}) == 2
    summary = {
        "type": "delivery_report_sms",
        "batch_id": "01X",
        "statuses": [
            {"code": 0, "status": "Delivered", "count": 2, "recipients": ["1555", "1556"]},
            {"code": 402, "status": "Failed", "count": 1, "recipients": ["1557"]},
        ],
    }
    told = [(one.recipient, one.state.value) for one in SCHEMES["sinch"].parse(call(summary))]
    assert told == [("1555", "delivered"), ("1556", "delivered"), ("1557", "failed")]


def test_a_part_among_others():
    """Plivo reports each part; all of them go by the id of the first."""
    (event,) = SCHEMES["plivo"].parse(plivo("delivered", PartInfo="2 of 3"))
    assert (event.remote_id, event.part, event.parts) == ("u1", 2, 3)


@pytest.mark.parametrize(
    ("channel", "callback"),
    [
        ("sparkpost", call([{"msys": {}}])),
        ("ses", sns("Successfully validated SNS topic for Amazon SES event publishing.")),
        ("telnyx", telnyx("message.received", "delivered")),
        ("resend", call({"type": "domain.created", "data": {}})),
    ],
)
def test_calls_that_tell_of_no_message(channel, callback):
    """Providers try out the URL, or report on other things: that is no error."""
    assert list(SCHEMES[channel].parse(callback)) == []


@pytest.mark.parametrize("channel", sorted(SCHEMES))
@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'"x"', b"&=&%zz=%", b"null", b"[1,null,{}]"])
def test_what_is_no_event(channel, body):
    """Whatever comes, the worst is a line in the log."""
    try:
        events = SCHEMES[channel].parse(call(body))
    except Unreadable:
        return
    assert all(isinstance(one, ReceiptEvent) for one in events)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = [
    "event",
    "type",
    "RecordType",
    "Type",
    "Message",
    "msys",
    "data",
    "payload",
    "to",
    "status",
    "id",
    "results",
    "statuses",
    "recipients",
    "batch_id",
    "mail",
    "bounce",
    "bouncedRecipients",
    "timestamp",
    "time",
    "ts_epoch",
    "email_id",
    "tags",
    "event-data",
    "delivery-status",
    "message",
    "headers",
    "errors",
    "error",
    "eventType",
    "notificationType",
    "event_type",
    "messageId",
    "message_uuid",
    "kumo_id",
    "user-variables",
    "rcpt_meta",
    "Metadata",
    "context",
    "parts",
]
EVENTS = st.recursive(
    JSON | st.sampled_from(["message.finalized", "email.bounced", "Bounce", "delivered", "failed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=25,
)


@settings(max_examples=examples(400))
@given(st.sampled_from(sorted(SCHEMES)), EVENTS)
def test_no_shape_of_json_is_trusted(channel, value):
    """Numbers where texts belong, lists where objects do: it is read, or it is Unreadable."""
    try:
        events = SCHEMES[channel].parse(call(json.dumps(value).encode()))
    except Unreadable:
        return
    assert all("\n" not in one.text for one in events)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (AT, AT),
        (AT * 1000, AT),
        (str(AT), AT),
        ("2026-11-23T19:29:37Z", AT),
        ("2026-11-23T20:29:37+01:00", AT),
        ("2026-11-23T20:29:37.000+0100", AT),
        ("2026-11-23 19:29:37", AT),
        ("Mon, 23 Nov 2026 19:29:37 +0000", AT),
        ("yesterday", None),
        ("", None),
        (True, None),
        (-5, None),
        (10**400, None),
        ("9" * 400, None),
        (float("1e308"), None),
        (None, None),
    ],
)
def test_times(written, seconds):
    """Every way of writing a time that was met."""
    assert moment(written) == seconds


def test_line_breaks_in_any_field():
    """CR and LF in a provider's text cannot make a second log line."""
    (event,) = SCHEMES["sendgrid"].parse(sendgrid("bounce", reason="550 a\r\nFrom: b\x00", url="x\ny"))
    assert event.text == "550 a From: b"
    assert event.facts["url"] == "x y"

"""Twilio as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, schema
from support.apicases.texts import COMMON, STATUS_URL, TO, WORDS, basic, callback, form

from kumotwist.config.option import Duration
from kumotwist.egress.sms.twilio import TwilioOptions

PATH = "/2010-04-01/Accounts/{AccountSid}/Messages.json"
SCHEMA = schema(
    "twilio_api_v2010.messages.json",
    *("paths", PATH, "post", "requestBody", "content", "application/x-www-form-urlencoded", "schema"),
)
ACCOUNT = "AC" + "0" * 32


def typed(fields):
    """A form's fields with the types that the description gives them."""
    return {**fields, "ValidityPeriod": int(fields["ValidityPeriod"])} if "ValidityPeriod" in fields else fields


def check(seen, spool_id):
    fields = form(seen)
    SCHEMA.validate(typed(fields))
    assert fields == {
        "To": TO,
        "From": "SHOP",
        "Body": WORDS,
        "StatusCallback": callback(spool_id),
        "ValidityPeriod": "600",
    }


def error(status, code, message):
    return Said(status, {"code": code, "message": message, "more_info": "https://…", "status": status})


CASE = ApiCase(
    name="twilio",
    options=lambda url, key: TwilioOptions(
        base_url=url,
        auth_token=key,
        account_sid=ACCOUNT,
        sender="SHOP",
        status_url=STATUS_URL,
        validity=Duration(600.0),
    ),
    path=PATH.format(AccountSid=ACCOUNT),
    accepted=Said(201, {"sid": "SM42", "status": "queued", "num_segments": "2", "error_code": None}),
    remote_id="SM42",
    permanent=[
        error(400, 21211, "The 'To' number is not a valid phone number."),
        error(400, 21610, "Attempt to send to unsubscribed recipient"),
        error(403, 21408, "Permission to send an SMS has not been enabled for the region"),
        error(400, 21604, "'To' phone number is required"),
        Said(201, {"sid": "SM42", "status": "failed", "error_code": None, "error_message": None}),
        Said(201, {"sid": "SM42", "status": "undelivered", "error_code": 21614, "error_message": "not mobile"}),
    ],
    account=[
        error(400, 21606, "The From phone number is not a valid, SMS-capable phone number"),
        error(404, 20404, "The requested resource /Accounts/… was not found"),
        error(400, 30002, "Account suspended"),
    ],
    transient=[error(400, 30001, "Queue overflow")],
    throttled=[(error(400, 20429, "Too Many Requests"), 10.0), (error(400, 21611, "exceeded the queue"), 10.0)],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == basic(ACCOUNT, key),
    **COMMON,
)
BROKEN = [{"From": "SHOP", "Body": "hi"}, {"To": TO, "MessagingServiceSid": "SHOP"}, {"To": TO, "ValidityPeriod": "x"}]

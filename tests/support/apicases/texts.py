"""What the cases of gateways for text messages have in common."""

from base64 import b64encode
from urllib.parse import parse_qsl

#: A reader in Berlin; numbers of countries with a plan are checked against it.
TO = "+4930123456"
RECIPIENTS = (f"{TO}@sms",)
#: More than 160 characters of the GSM alphabet: two segments.
WORDS = ("Your parcel arrives tomorrow between nine and ten. " * 4).strip()
BODY = (
    f"Subject: your parcel\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{WORDS}\r\n"
).encode()
STATUS_URL = "https://mta.src.test/receipts/sms/main"
#: The fields of a case that are the same for all.
COMMON = {"recipients": RECIPIENTS, "body": BODY, "parts": 2}


def form(seen):
    """The fields of an url-encoded form, none of them twice."""
    assert seen.header("content-type") == "application/x-www-form-urlencoded"
    pairs = parse_qsl(seen.body.decode(), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def callback(spool_id):
    """The URL for reports with our id in it."""
    return f"{STATUS_URL}?kumo_id={spool_id}"


def basic(user, password):
    """The value of an Authorization header."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()

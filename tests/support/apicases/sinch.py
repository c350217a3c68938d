"""Sinch as the contract suite meets it."""

import time
from datetime import datetime

import pytest
from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.texts import COMMON, STATUS_URL, TO, WORDS, callback

from kumotwist.config.option import Duration
from kumotwist.egress.sms.sinch import SinchOptions

SCHEMA = schema("sinch_sms_v1.derived.json", "schemas", "TextRequest")


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    expires = datetime.fromisoformat(value.pop("expire_at"))
    assert expires.timestamp() - time.time() == pytest.approx(600, abs=30)
    assert value == {
        "from": "SHOP",
        "to": [TO.removeprefix("+")],
        "body": WORDS,
        "type": "mt_text",
        "delivery_report": "per_recipient",
        "client_reference": spool_id,
        "callback_url": callback(spool_id),
    }


CASE = ApiCase(
    name="sinch",
    options=lambda url, key: SinchOptions(
        base_url=url,
        api_token=key,
        service_plan="plan1",
        sender="SHOP",
        status_url=STATUS_URL,
        validity=Duration(600.0),
    ),
    path="/xms/v1/plan1/batches",
    accepted=Said(201, {"id": "01FC66621XXXXX119Z8PMV1QPQ", "to": ["4930123456"], "canceled": False}),
    remote_id="01FC66621XXXXX119Z8PMV1QPQ",
    permanent=[
        Said(400, {"code": "syntax_constraint_violation", "text": "Field 'body' is required"}),
        Said(403, {"code": "illegal_number_type", "text": "landline"}),
    ],
    account=[Said(403, {"code": "blocked_account", "text": "blocked"}), Said(404, b"")],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == f"Bearer {key}",
    **COMMON,
)
BROKEN = [{"to": ["4930123456"]}, {"to": "4930123456", "body": "hi"}, {"body": "hi"}]

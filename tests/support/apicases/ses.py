"""Amazon SES as the contract suite meets it; its signatures are checked by moto in tests/contract/test_moto.py."""

from base64 import b64decode

from botocore.session import get_session
from botocore.validate import ParamValidator
from support.apicases.case import ApiCase, Said, as_json

from kumotwist.config.keysource import LiteralKey
from kumotwist.egress.esp.ses import SesOptions

SHAPE = get_session().get_service_model("sesv2").operation_model("SendEmail").input_shape


def error(name, message=""):
    return {"body": {"message": message}, "headers": {"x-amzn-ErrorType": f"{name}:http://internal.amazon.com/"}}


def check(seen, spool_id):
    value = as_json(seen)
    value["Content"]["Raw"]["Data"] = b64decode(value["Content"]["Raw"]["Data"])
    report = ParamValidator().validate(value, SHAPE)
    assert not report.has_errors(), report.generate_report()
    assert value["EmailTags"] == [{"Name": "kumo_id", "Value": spool_id}]
    assert value["Destination"] == {"ToAddresses": ["to@dest.test"]}
    assert value["Content"]["Raw"]["Data"].startswith(b"From: Ann")


CASE = ApiCase(
    name="ses",
    options=lambda url, key: SesOptions(
        base_url=url, region="eu-west-1", access_key_id=key, secret_access_key=LiteralKey(b"secret")
    ),
    path="/v2/email/outbound-emails",
    accepted=Said(200, {"MessageId": "0102018-1a2b-000000"}),
    remote_id="0102018-1a2b-000000",
    permanent=[
        Said(400, **error("MessageRejected", "Transaction failed")),
        Said(400, **error("BadRequestException", "Missing final '@domain'")),
    ],
    account=[
        Said(400, **error("AccountSuspendedException")),
        Said(400, **error("SendingPausedException")),
        Said(400, **error("LimitExceededException")),
        Said(400, **error("MailFromDomainNotVerifiedException")),
        Said(400, **error("MessageRejected", "Email address is not verified. The following identities failed")),
        Said(404, **error("NotFoundException", "Configuration set does not exist")),
        Said(429, **error("TooManyRequestsException", "Daily message quota exceeded.")),
        Said(400, body={"__type": "com.amazon.coral#ExpiredTokenException"}),
    ],
    throttled=[(Said(429, **error("TooManyRequestsException", "Maximum sending rate exceeded.")), 10.0)],
    check=check,
    shows=lambda seen, key: f"Credential={key}/" in (seen.header("authorization") or ""),
)

"""AWS End User Messaging as the contract suite meets it."""

import json

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import get_session
from botocore.validate import ParamValidator
from support.apicases.case import ApiCase, Said
from support.apicases.texts import COMMON, TO, WORDS

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.option import Duration
from kumotwist.egress.sms.aws_sms import AwsSmsOptions

SHAPE = get_session().get_service_model("pinpoint-sms-voice-v2").operation_model("SendTextMessage").input_shape


class Model:
    """The service's model as a validator like those of schemas."""

    def is_valid(self, value):
        return not ParamValidator().validate(value, SHAPE).has_errors()


SCHEMA = Model()


def signature(seen):
    """The Authorization header that botocore makes for the request as it came."""
    names = ("content-type", "host", "x-amz-target")
    request = AWSRequest("POST", f"http://{seen.header('host')}{seen.uri}", data=seen.body)
    for name in names:
        request.headers[name] = seen.header(name)
    request.context["timestamp"] = seen.header("x-amz-date")
    key = seen.header("authorization").partition("Credential=")[2].partition("/")[0]
    auth = SigV4Auth(Credentials(key, "secret"), "sms-voice", "eu-west-1")
    request.headers["X-Amz-Date"] = seen.header("x-amz-date")
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return auth.signature(text, request)


def check(seen, spool_id):
    assert seen.header("content-type") == "application/x-amz-json-1.0"
    assert seen.header("x-amz-target") == "PinpointSMSVoiceV2.SendTextMessage"
    value = json.loads(seen.body)
    report = ParamValidator().validate(value, SHAPE)
    assert not report.has_errors(), report.generate_report()
    assert value == {
        "DestinationPhoneNumber": TO,
        "OriginationIdentity": "SHOP",
        "MessageBody": WORDS,
        "MessageType": "TRANSACTIONAL",
        "Context": {"kumo_id": spool_id},
        "ConfigurationSetName": "events",
        "TimeToLive": 600,
    }
    assert seen.header("authorization").endswith(f"Signature={signature(seen)}")


def error(name, reason=None, text="in words"):
    value = {"__type": f"com.amazonaws.pinpointsmsvoicev2#{name}", "Message": text}
    return Said(400, {**value, "Reason": reason} if reason else value)


CASE = ApiCase(
    name="aws_sms",
    options=lambda url, key: AwsSmsOptions(
        base_url=url,
        region="eu-west-1",
        access_key_id=key,
        secret_access_key=LiteralKey(b"secret"),
        sender="SHOP",
        configuration_set="events",
        validity=Duration(600.0),
    ),
    path="/",
    accepted=Said(200, {"MessageId": "m-1"}),
    remote_id="m-1",
    permanent=[
        error("ConflictException", "DESTINATION_PHONE_NUMBER_OPTED_OUT"),
        error("ValidationException", "DESTINATION_COUNTRY_BLOCKED"),
    ],
    account=[
        error("ServiceQuotaExceededException", "MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT"),
        error("ResourceNotFoundException"),
        error("ConflictException", "NO_ORIGINATION_IDENTITIES_FOUND"),
        error("ValidationException", "SENDER_ID_NOT_REGISTERED"),
        error("AccessDeniedException", "ACCOUNT_DISABLED"),
        error("UnrecognizedClientException"),
    ],
    transient=[error("ServiceQuotaExceededException", "DAILY_DESTINATION_CALL_LIMIT")],
    throttled=[(error("ThrottlingException"), 10.0)],
    check=check,
    shows=lambda seen, key: f"Credential={key}/" in (seen.header("authorization") or ""),
    **COMMON,
)
BROKEN = [
    {"MessageBody": "hi"},
    {"DestinationPhoneNumber": TO, "MessageBody": "hi", "TimeToLive": 1},
    {"DestinationPhoneNumber": TO, "MessageBody": "hi", "Context": ["kumo_id"]},
]

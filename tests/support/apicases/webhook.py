"""A webhook's receiver as the contract suite meets it; its library is the one that Standard Webhooks publishes."""

from standardwebhooks import Webhook, WebhookVerificationError
from support.apicases.case import ApiCase, Said, as_json

from kumotwist.egress.webhook import WebhookOptions


def verified(seen, key):
    """Whether the receiver, who knows this key, takes the call for ours."""
    headers = {name: values[0] for name, values in seen.headers.items()}
    try:
        Webhook(key.encode()).verify(seen.body, headers, json_parse=False)
    except WebhookVerificationError:
        return False
    return True


def check(seen, spool_id):
    value = as_json(seen)
    assert seen.header("webhook-id") == value["id"] == spool_id
    assert (value["sender"], value["recipients"]) == ("from@src.test", ["to@dest.test"])
    assert (value["subject"], value["text"].strip()) == ("hello", "body")
    assert ["Subject", "hello"] in value["headers"]
    assert seen.header("x-env") == "test"


CASE = ApiCase(
    name="webhook",
    options=lambda url, key: WebhookOptions(
        url=f"{url}/hook", secrets=(key,), headers={"X-Env": "test"}, allow_private_addresses=True
    ),
    path="/hook",
    accepted=Said(200, b"thanks"),
    remote_id=None,
    permanent=[Said(410, b"gone"), Said(400, b"not like this"), Said(422, {"error": "what?"}), Said(413, b"")],
    transient=[Said(404, b""), Said(302, b"", {"Location": "http://169.254.169.254/latest"}), Said(409, b"")],
    check=check,
    shows=verified,
    is_idempotent=True,
)

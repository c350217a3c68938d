"""Microsoft Teams as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.chats import COMMON

from kumotwist.egress.chat.teams import TeamsOptions

SCHEMA = schema("chats.hand.json", "schemas", "TeamsWorkflowMessage")


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    card = value["attachments"][0]["content"]
    assert card["msteams"] == {"width": "Full"}
    assert card["body"] == [
        {
            "type": "TextBlock",
            "text": "**parcel**\n\nIt **arrived**. [Look](https://a.test/1) @everyone",
            "wrap": True,
        }
    ]


CASE = ApiCase(
    name="teams",
    options=lambda url, key: TeamsOptions(base_url=f"{url}/workflows", webhook=key),
    path="/workflows/key-of-the-test",
    accepted=Said(202, b"", {"x-ms-workflow-run-id": "0858"}),
    remote_id="0858",
    permanent=[
        Said(400, {"error": {"code": "InvalidRequestContent", "message": "The input is not valid"}}),
        Said(413, b""),
    ],
    account=[
        Said(404, {"error": {"code": "WorkflowNotFound", "message": "could not be found"}}),
        Said(400, {"error": {"code": "WorkflowTriggerIsNotEnabled", "message": "disabled"}}),
    ],
    check=check,
    shows=lambda seen, key: seen.uri == f"/workflows/{key}",
    **COMMON,
)
BROKEN = [
    {"type": "message"},
    {"type": "message", "attachments": [{"contentType": "text/html", "content": {}}]},
    {
        "type": "message",
        "attachments": [
            {
                "contentType": "application/vnd.microsoft.card.adaptive",
                "content": {"type": "AdaptiveCard", "version": "1.4", "body": [{"type": "TextBlock"}]},
            }
        ],
    },
]

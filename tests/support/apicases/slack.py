"""Slack's incoming webhooks as the contract suite meets them."""

from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.chats import COMMON

from kumotwist.egress.chat.slack import SlackOptions

SCHEMA = schema("chats.hand.json", "schemas", "SlackWebhook")


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value == {
        "text": "*parcel*\nIt *arrived*. <https://a.test/1|Look> @everyone",
        "unfurl_links": False,
        "unfurl_media": False,
    }


CASE = ApiCase(
    name="slack",
    options=lambda url, key: SlackOptions(base_url=f"{url}/services", webhook=key, previews=False),
    path="/services/key-of-the-test",
    accepted=Said(200, b"ok"),
    remote_id=None,
    permanent=[
        Said(400, b"invalid_payload"),
        Said(410, b"channel_is_archived"),
        Said(404, b"channel_not_found"),
        Said(403, b"action_prohibited"),
    ],
    account=[Said(404, b"no_service"), Said(403, b"invalid_token"), Said(404, b"<html>Not Found</html>")],
    transient=[Said(500, b"rollup_error")],
    check=check,
    shows=lambda seen, key: seen.uri == f"/services/{key}",
    **COMMON,
)
BROKEN = [{"unfurl_links": False}, {"text": ["hi"]}]

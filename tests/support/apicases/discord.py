"""Discord as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.chats import COMMON

from kumotwist.egress.chat.discord import DiscordOptions

SCHEMA = schema("chats.hand.json", "schemas", "DiscordExecuteWebhook")


def check(seen, spool_id):
    assert seen.uri.endswith("?wait=true")
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value == {
        "content": "**parcel**\nIt **arrived**. [Look](https://a.test/1) @everyone",
        "username": "Shop",
        "allowed_mentions": {"parse": []},
        "flags": 4,
    }


CASE = ApiCase(
    name="discord",
    options=lambda url, key: DiscordOptions(base_url=f"{url}/hooks", webhook=key, username="Shop", previews=False),
    path="/hooks/key-of-the-test",
    accepted=Said(200, {"id": "1101", "channel_id": "22", "content": "…"}),
    remote_id="1101",
    permanent=[Said(400, {"message": "Cannot send an empty message", "code": 50006})],
    account=[
        Said(404, {"message": "Unknown Webhook", "code": 10015}),
        Said(401, {"message": "Invalid Webhook Token", "code": 50027}),
    ],
    throttled=[(Said(429, {"message": "You are being rate limited.", "retry_after": 3.7, "global": False}), 3.7)],
    check=check,
    shows=lambda seen, key: seen.uri.startswith(f"/hooks/{key}?"),
    **COMMON,
)
BROKEN = [{"content": "x" * 2001}, {"username": "Shop"}, {"content": "hi", "allowed_mentions": {"parse": "none"}}]

"""Telegram as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.chats import BODY

from kumotwist.egress.chat.telegram import TelegramOptions

SCHEMA = schema("chats.hand.json", "schemas", "TelegramSendMessage")


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value == {
        "chat_id": "-100123",
        "text": "*parcel*\nIt *arrived*\\. [Look](https://a.test/1) @everyone",
        "parse_mode": "MarkdownV2",
        "disable_notification": True,
        "link_preview_options": {"is_disabled": True},
    }


def error(code, description, **parameters):
    return Said(code, {"ok": False, "error_code": code, "description": description, "parameters": parameters})


CASE = ApiCase(
    name="telegram",
    options=lambda url, key: TelegramOptions(base_url=url, token=key, silent=True, previews=False),
    path="/botkey-of-the-test/sendMessage",
    accepted=Said(200, {"ok": True, "result": {"message_id": 42, "chat": {"id": -100123}}}),
    remote_id="-100123/42",
    permanent=[
        error(400, "Bad Request: chat not found"),
        error(403, "Forbidden: bot can't initiate conversation with a user"),
        error(403, "Forbidden: bot was blocked by the user"),
        error(400, "Bad Request: can't parse entities"),
        error(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-100456),
    ],
    account=[error(404, "Not Found")],
    throttled=[(error(429, "Too Many Requests: retry after 14", retry_after=14), 14.0)],
    check=check,
    shows=lambda seen, key: seen.uri == f"/bot{key}/sendMessage",
    recipients=("c0ffee@chat",),
    body=BODY,
    meta={"to": {"chat": "-100123", "platform": "telegram"}},
)
BROKEN = [{"text": "hi"}, {"chat_id": "1", "text": ""}, {"chat_id": "1", "text": "hi", "parse_mode": "Markdown3"}]

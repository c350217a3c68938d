"""Slack's chat.postMessage as the contract suite meets it."""

from support.apicases.case import ApiCase, Said, as_json, schema
from support.apicases.chats import COMMON

from kumotwist.egress.chat.slack import SlackOptions

SCHEMA = schema("chats.hand.json", "schemas", "SlackPostMessage")


def check(seen, spool_id):
    value = as_json(seen)
    SCHEMA.validate(value)
    assert value == {
        "channel": "C024BE91L",
        "text": "*parcel*\nIt *arrived*. <https://a.test/1|Look> @everyone",
        "metadata": {"event_type": "message", "event_payload": {"kumo_id": spool_id}},
    }


def error(name):
    return Said(200, {"ok": False, "error": name})


CASE = ApiCase(
    name="slack",
    options=lambda url, key: SlackOptions(base_url=f"{url}/api", token=key),
    path="/api/chat.postMessage",
    accepted=Said(200, {"ok": True, "channel": "C024BE91L", "ts": "1503435956.000247"}),
    remote_id="C024BE91L/1503435956.000247",
    permanent=[error("channel_not_found"), error("is_archived"), error("msg_too_long"), error("not_in_channel")],
    account=[error("invalid_auth"), error("token_revoked"), error("missing_scope")],
    transient=[error("internal_error"), error("something_new")],
    throttled=[(error("ratelimited"), 10.0)],
    check=check,
    shows=lambda seen, key: seen.header("authorization") == f"Bearer {key}",
    **COMMON,
)
BROKEN = [{"text": "hi"}, {"channel": "C1"}, {"channel": "C1", "text": "hi", "metadata": {"event_type": "x"}}]

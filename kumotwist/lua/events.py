"""The events that kumotwist runs: names, arguments, results and how many handlers each may have.

A policy may register any other name as well: constructors, tasks, key
sources, filters. Public: `Event`, `EVENTS`, `MULTIPLE`, `suggest`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from attrs import frozen


@frozen
class Event:
    """One event, as the reference shows it."""

    name: str
    signature: str
    doc: str
    is_multiple: bool = False


_EVENTS: Final = (
    Event("pre_init", "()", "Once, before `init`; for set-up by helper modules.", True),
    Event("init", "()", "Once, at start: spools, listeners, logs. An error ends the daemon.", False),
    Event("validate_config", "()", "During `kumotwist validate`, after `init`.", True),
    Event("main", "(...)", "`kumotwist script`, with the script's arguments."),
    Event("shutdown_logging", "()", "At shutdown, before the logs are closed."),
    Event(
        "smtp_server_get_dynamic_parameters",
        "(listener, conn_meta) -> table or nil",
        "Before a connection is accepted: listener options for this client.",
    ),
    Event("smtp_server_connection_accepted", "(conn_meta)", "Before the banner."),
    Event(
        "smtp_server_ehlo",
        "(domain, conn_meta[, extensions]) -> list or nil",
        "EHLO (with our extensions) and HELO (without); the list to offer instead.",
    ),
    Event("smtp_server_auth_plain", "(authz, authc, password, conn_meta) -> boolean or AuthInfo", "AUTH."),
    Event("smtp_server_mail_from", "(sender, conn_meta)", "MAIL FROM."),
    Event(
        "get_listener_domain",
        "(domain, listener, conn_meta) -> kumo.make_listener_domain or nil",
        "What we do for a domain; nil is no opinion.",
    ),
    Event("smtp_server_rcpt_to", "(recipient, conn_meta)", "RCPT TO, when relaying is allowed."),
    Event("smtp_server_data", "(message, conn_meta)", "The whole transaction, before it is split."),
    Event(
        "smtp_server_split_transaction",
        "(message, conn_meta) -> list of lists of addresses, or nil",
        "How the recipients become messages; nil leaves it to `batch_handling`.",
    ),
    Event("smtp_server_message_received", "(message, conn_meta)", "Each message, before it is made durable."),
    Event(
        "smtp_server_rewrite_response",
        "(code, text, command, conn_meta) -> code, text",
        "Before every reply; nil keeps a part.",
    ),
    Event("http_server_validate_auth_basic", "(user, password) -> boolean or AuthInfo", "HTTP Basic credentials."),
    Event("get_acl_definition", "(resource) -> kumo.aaa.make_access_control_list or nil", "Who may do what.", True),
    Event("http_message_generated", "(message, auth_info)", "Each message that comes in by HTTP (inject, send)."),
    Event(
        "sms_received",
        "(message)",
        "A text message of a subscriber; kumo.inject_message takes it over, kumo.reject refuses it.",
    ),
    Event(
        "get_queue_config",
        "(domain, tenant, campaign, routing_domain) -> kumo.make_queue_config",
        "A scheduled queue is made or refreshed.",
        True,
    ),
    Event("get_route_table", "(name) -> kumo.make_route_table", "A route table is needed."),
    Event("get_egress_pool", "(name) -> kumo.make_egress_pool", "A pool is needed."),
    Event("get_egress_source", "(name) -> kumo.make_egress_source", "A source is needed."),
    Event(
        "get_egress_path_config",
        "(routing_domain, egress_source, site_name) -> kumo.make_egress_path or nil",
        "A ready queue is made or refreshed.",
    ),
    Event("throttle_insert_ready_queue", "(message)", "Before a message becomes ready; may delay it.", True),
    Event(
        "requeue_message",
        "(message, smtp_response, insert_context, increment_attempts, delay)",
        "Before a message goes back to wait; kumo.reject bounces it.",
        True,
    ),
    Event("spool_message_enumerated", "(message)", "Each message found at start."),
    Event(
        "smtp_client_rewrite_delivery_status",
        "(response, domain, tenant, campaign, routing_domain) -> code or nil",
        "A peer's refusal; another code in its place.",
    ),
    Event("should_enqueue_log_record", "(message, hook_name) -> boolean", "Each record, for each log hook.", True),
)

#: By name, in the order of a message's life.
EVENTS: Final = {event.name: event for event in _EVENTS}
MULTIPLE: Final = tuple(event.name for event in _EVENTS if event.is_multiple)
#: Events of KumoMTA that we never run: registering one is most likely a hope, not a typing error.
UNSUPPORTED: Final = frozenset(
    (
        "http_server_validate_auth_bearer",
        "proxy_init",
        "proxy_server_auth_rfc1929",
        "rebind_message",
        "smtp_server_message_deferred_inject",
        "tsa_init",
        "tsa_load_shaping_data",
        "xfer_message_received",
    )
)


def suggest(name: str, used: Iterable[str] = ()) -> str | None:
    """A warning for an event name that looks like a built-in one but is none; None when it is fine.

    `used` are names that the policy itself mentions elsewhere (constructors, tasks).
    """
    if name in EVENTS or name in used:
        return None
    if name in UNSUPPORTED:
        return f"event '{name}' is known to KumoMTA but never runs in kumotwist"
    close = difflib.get_close_matches(name, EVENTS, n=1, cutoff=0.8)
    return f"event '{name}' is none of ours; did you mean '{close[0]}'?" if close else None

"""The JSON form of a log record: every field, in the order that readers rely on.

Built once per record; each sink then puts its own selection of `meta` and
`headers` in and encodes it. Field names and order are KumoMTA's
(kumo-log-types); fields at the end are left out when they are not known, and
those from `channel` on are ours.

Public: `JsonRecord`, `PARTS`, `build`, `encode`, `to_object`. What can go wrong:
values that are not JSON after all (a policy's 70-bit integer, an unpaired
surrogate); they are written as text rather than losing the record.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from kumotwist.core.ids import created_at
from kumotwist.core.json import Json, JsonObject
from kumotwist.core.outcome import Peer
from kumotwist.core.receipt import ReceiptEvent
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import Response
from kumotwist.records.classify import Classify, uncategorized


class _Response(msgspec.Struct, gc=False):
    code: int
    enhanced_code: _EnhancedCode | None
    content: str
    command: str | None


class _EnhancedCode(msgspec.Struct, gc=False, rename={"class_": "class"}):
    class_: int
    subject: int
    detail: int


class _Address(msgspec.Struct, gc=False):
    name: str
    addr: str


class _Source(msgspec.Struct, gc=False):
    address: str
    server: str | UnsetType = UNSET
    protocol: str | UnsetType = UNSET


class _Receipt(msgspec.Struct, omit_defaults=True, rename={"class_": "class"}):
    state: str
    class_: str = ""
    text: str = ""
    event_time: str = ""
    event_id: str = ""
    recipient: str = ""
    parts: int | None = None
    facts: JsonObject = {}  # msgspec copies it


class JsonRecord(msgspec.Struct):
    """One record as it is written. `meta` and `headers` belong to the sink that encodes next."""

    type: str
    id: str
    sender: str
    recipient: str | tuple[str, ...]
    queue: str
    site: str
    size: int
    response: _Response
    peer_address: _Address | None
    timestamp: int
    event_time: str
    created: int
    created_time: str
    num_attempts: int
    bounce_classification: str
    egress_pool: str | None
    egress_source: str | None
    source_address: _Source | None
    feedback_report: JsonObject | None
    meta: JsonObject
    headers: JsonObject
    delivery_protocol: str | None
    reception_protocol: str | None
    nodeid: str
    tls_cipher: str | UnsetType = UNSET
    tls_protocol_version: str | UnsetType = UNSET
    tls_peer_subject_name: tuple[str, ...] | UnsetType = UNSET
    provider_name: str | UnsetType = UNSET
    session_id: str | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    account: str | UnsetType = UNSET
    remote_id: str | UnsetType = UNSET
    parts: int | UnsetType = UNSET
    route_table: str | UnsetType = UNSET
    route: str | UnsetType = UNSET
    route_class: str | UnsetType = UNSET
    route_change: JsonObject | UnsetType = UNSET
    fallback: JsonObject | UnsetType = UNSET
    receipt: _Receipt | UnsetType = UNSET
    address: Json | UnsetType = UNSET


#: The fields that are tables of known form.
PARTS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "response": _Response,
    "peer_address": _Address,
    "source_address": _Source,
    "receipt": _Receipt,
}
_encoder: Final = msgspec.json.Encoder()


def build(record: Record, nodeid: str, classify: Classify = uncategorized) -> JsonRecord:
    """The JSON form of `record`, without meta and headers; `classify` tells what kind of failure it is."""
    message, peer = record.message, record.peer
    when = record.event_time
    spool_id = message.id if message is not None else record.message_id
    created = created_at(spool_id) if spool_id is not None else when
    recipients = record.recipients
    built = JsonRecord(
        record.type.value,
        spool_id.hex() if spool_id is not None else "",
        record.sender,
        recipients[0] if len(recipients) == 1 else recipients or "",
        record.queue,
        record.site,
        record.size,
        _response(record.response),
        _Address(peer.name, _without_port(peer.addr)) if peer is not None else None,
        int(when),
        _timestamp(when),
        int(created),
        _timestamp(created),
        record.attempts,
        classify(record),
        record.egress_pool,
        record.egress_source,
        _source(peer) if peer is not None else None,
        record.feedback_report,
        {},
        {},
        record.delivery_protocol,
        reception_protocol(record),
        nodeid,
    )
    _add_known(built, record)
    return built


def _add_known(built: JsonRecord, record: Record) -> None:
    """The fields that stand only where they are known."""
    if record.provider_name is not None:
        built.provider_name = record.provider_name
    if record.session_id is not None:
        built.session_id = record.session_id
    if record.peer is not None:
        _add_peer(built, record.peer)
    if record.remote_id is not None:
        built.remote_id = record.remote_id
    if record.parts > 1:
        built.parts = record.parts
    if record.way is not None:
        built.route_table, built.route, built.route_class = record.way.table, record.way.route, record.way.name
    if record.route_change is not None:
        built.route_change = record.route_change
    if record.fallback is not None:
        built.fallback = record.fallback
    if record.receipt is not None:
        _add_receipt(built, record.receipt)
    if record.type is RecordType.DEAD_ADDRESS and record.message is not None:
        # What the application knows it by: the recipient is only a stand-in for a token.
        built.address = record.message.meta.get("to") or (record.recipients[0] if record.recipients else None)


def encode(record: JsonRecord) -> bytes:
    """One line of JSON without its end."""
    try:
        return _encoder.encode(record)
    except (ValueError, TypeError, OverflowError):
        return json.dumps(to_object(record), default=str, ensure_ascii=True, separators=(",", ":")).encode()


def to_object(record: JsonRecord) -> JsonObject:
    """The same as a dictionary of its own."""
    found: JsonObject = msgspec.to_builtins(record)
    return found


def reception_protocol(record: Record) -> str | None:
    """How the message came in, as the record or else the message's meta says."""
    if record.reception_protocol is not None or record.message is None:
        return record.reception_protocol
    found = record.message.meta.get("reception_protocol")
    return found if isinstance(found, str) else None


def _response(response: Response) -> _Response:
    enhanced, content = response.enhanced, response.content
    if "\n" in content:
        content = content.replace("\r\n", "\n").replace("\n", "\\r\\n")
    code = _EnhancedCode(enhanced.class_, enhanced.subject, enhanced.detail) if enhanced is not None else None
    return _Response(response.code, code, content, response.command)


def _add_peer(built: JsonRecord, peer: Peer) -> None:
    if built.delivery_protocol is None and built.type != "Reception" and peer.delivery_protocol:
        built.delivery_protocol = peer.delivery_protocol
    if built.session_id is UNSET and peer.session_id is not None:
        built.session_id = peer.session_id
    if peer.channel is not None:
        built.channel = peer.channel
    if peer.account is not None:
        built.account = peer.account
    if peer.tls_cipher is not None:
        built.tls_cipher = peer.tls_cipher
    if peer.tls_protocol_version is not None:
        built.tls_protocol_version = peer.tls_protocol_version
    if peer.tls_peer_subject_name is not None:
        built.tls_peer_subject_name = peer.tls_peer_subject_name


def _add_receipt(built: JsonRecord, event: ReceiptEvent) -> None:
    built.channel, built.account = event.channel, event.account or UNSET
    when = _timestamp(event.event_time) if event.event_time is not None else ""
    built.receipt = _Receipt(
        event.state.value,
        event.class_.value,
        event.text,
        when,
        event.event_id,
        event.recipient,
        event.parts,
        event.facts,
    )


def _source(peer: Peer) -> _Source | None:
    if peer.source_address is None:
        return None
    if peer.proxy is None:
        return _Source(peer.source_address)
    return _Source(peer.source_address, peer.proxy, "socks5")


@lru_cache(maxsize=4096)
def _without_port(address: str) -> str:
    """`1.2.3.4:25` and `[::1]:25` without the port; a bare address as it is."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def _timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with nine digits; a float holds microseconds, so the last three are 0."""
    micros = round(seconds * 1_000_000)
    return f"{_to_the_second(micros // 1_000_000)}.{micros % 1_000_000:06d}000Z"


@lru_cache(maxsize=256)
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))

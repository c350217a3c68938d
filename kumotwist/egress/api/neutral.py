"""A message as JSON that no provider laid down, for webhooks.

Public: `as_object`. What can go wrong: nothing; what cannot be taken apart the caller has refused before.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from kumotwist.core.json import Json, JsonObject
from kumotwist.core.message import Message
from kumotwist.egress.api.parts import base64
from kumotwist.proto.mime.addresses import Address
from kumotwist.proto.mime.parts import Attachment, Decomposed


def as_object(message: Message, parts: Decomposed, meta: Collection[str], with_files: bool) -> JsonObject:
    """The envelope, what the message says, the chosen meta keys; files with their content in base64 `with_files`."""
    files: list[Json] = [_file(one, with_files) for one in (*parts.attachments, *parts.inline)]
    to: list[Json] = [one.email for one in message.recipients]
    fields: list[Json] = [[name, value] for name, value in parts.headers]
    return {
        "type": "message",
        "id": message.id.hex(),
        "timestamp": datetime.fromtimestamp(message.created, UTC).isoformat(timespec="milliseconds"),
        "sender": message.sender.email,
        "recipients": to,
        "from": [_address(one) for one in parts.from_],
        "subject": parts.subject,
        "headers": fields,
        "text": parts.text,
        "html": parts.html,
        "attachments": files,
        "meta": {key: message.meta[key] for key in meta if key in message.meta},
    }


def _address(address: Address) -> Json:
    return {"email": address.email, "name": address.name}


def _file(file: Attachment, with_content: bool) -> Json:
    value: JsonObject = {"name": file.file_name, "content_type": file.content_type, "size": len(file.data)}
    if file.content_id:
        value["content_id"] = file.content_id
    return {**value, "content": base64(file.data)} if with_content else value

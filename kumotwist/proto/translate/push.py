"""A message as a notification: title, body and the application's data.

Public: `as_push`, `Notification`. What can go wrong: ValueError for data that is no
JSON object.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from kumotwist.config.translate import PushTextOptions
from kumotwist.core.json import JsonObject
from kumotwist.proto.mime.parts import Decomposed
from kumotwist.proto.translate import hypertext
from kumotwist.proto.translate.body import document_of, title_of
from kumotwist.proto.translate.document import to_plain
from kumotwist.proto.translate.shorten import octets, shorten


@frozen
class Notification:
    """`title` and `body` are within the bounds of the options; `data` is as the metadata has it."""

    title: str
    body: str
    data: JsonObject


def as_push(parts: Decomposed, meta: Mapping[str, object], options: PushTextOptions) -> Notification:
    """The notification for a message with that metadata. Raises ValueError when `data` is no object."""
    title = title_of(parts) if options.title is None else options.title
    body = (hypertext.read(parts.html).preheader if options.preheader else "") or _body(parts, options)
    data = meta.get(options.data_meta)
    if data is not None and not isinstance(data, dict):
        raise ValueError(f"meta '{options.data_meta}' must be an object to be the data of a notification")
    return Notification(
        shorten(title, options.max_title, octets), shorten(body, options.max_body, octets), dict(data or {})
    )


def _body(parts: Decomposed, options: PushTextOptions) -> str:
    lines = [line for line in document_of(parts, options) if not line.is_blank]
    return to_plain(lines, with_urls=options.urls)

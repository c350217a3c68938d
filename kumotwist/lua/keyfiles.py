"""Key sources that name a file which is not there, anywhere inside an options object.

`validate` asks for them. Only what is sure is told: a file that this process
may not read another user's daemon may well read, and an environment variable
may be set for the daemon alone.

Public: `missing_files`. Nothing goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from kumotwist.config.keysource import EnvironmentKey, EventKey, FileKey, LiteralKey, VaultKey
from kumotwist.config.option import option_name


def missing_files(options: object) -> Iterator[tuple[str, str]]:
    """The option's path, such as `protocol.sendgrid.api_key`, and what is amiss with the file that it names."""
    yield from _within("", options)


def _within(path: str, value: object) -> Iterator[tuple[str, str]]:
    match value:
        case FileKey():
            problem = _problem(value.path)
            if problem is not None:
                yield path, problem
        case LiteralKey() | EnvironmentKey() | EventKey() | VaultKey():
            return
        case Mapping():
            for name, one in value.items():
                yield from _within(_below(path, str(name)), one)
        case tuple() | list():
            for number, one in enumerate(value, 1):
                yield from _within(_below(path, str(number)), one)
        case _ if attrs.has(type(value)):
            channel = getattr(value, "channel", None)
            inside = _below(path, channel) if path and isinstance(channel, str) else path
            cls: type = type(value)
            for one in attrs.fields(cls):
                yield from _within(_below(inside, option_name(one)), getattr(value, one.name))


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _problem(path: str) -> str | None:
    if "\n" in path or "\0" in path:
        return "is a text with line breaks and no file name; a key itself is given as { key_data = ... }"
    try:
        is_directory = Path(path).is_dir()
        if not is_directory:
            Path(path).stat()
    except PermissionError:
        return None
    except OSError as error:
        return f"names the file {path}: {error.strerror}"
    return f"names the file {path}, which is a directory" if is_directory else None

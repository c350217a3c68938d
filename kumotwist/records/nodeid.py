"""The id of this node, which every record carries.

As in KumoMTA: the environment variable `KUMO_NODE_ID`, or the file that
`KUMO_NODE_ID_PATH` names, or one that is made once under the state directory.
All workers of a node have the same.

Public: `node_id`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kumotwist.core.errors import ConfigError

_FILE: Final = ".nodeid"


def node_id(state_dir: Path, environment: Mapping[str, str]) -> str:
    """The UUID of this node in its usual form. Raises ConfigError when there is one that is no UUID."""
    given = environment.get("KUMO_NODE_ID")
    if given:
        return _read(given, "KUMO_NODE_ID")
    named = environment.get("KUMO_NODE_ID_PATH")
    path = Path(named) if named else state_dir / _FILE
    try:
        try:
            return _read(path.read_text(), str(path))
        except FileNotFoundError:
            return _make(path)
    except OSError as error:
        raise ConfigError(f"cannot use node id file {path}: {error.strerror}") from error


def _read(text: str, where: str) -> str:
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError:
        raise ConfigError(f"{where} holds {text.strip()!r}, which is no UUID") from None


def _make(path: Path) -> str:
    """Written aside and linked into place, so that workers that start together agree."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(f"{uuid.uuid4()}\n")
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return _read(path.read_text(), str(path))

"""What a running daemon says of a message that is in its queue: `kumotwist explain --id`.

Public: `ask`. What can go wrong: ConfigError that says why there is no answer.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Final

import msgspec

from kumotwist.admin.explanation import Told
from kumotwist.core.errors import ConfigError

_PATH: Final = "/api/admin/explain/v1"
#: Seconds to wait. Ours: a daemon may have to look up a name, or ask a slow policy.
_PATIENCE: Final = 60.0
#: Characters of an answer that is an error. Ours: a line or two.
_MAX_ERROR: Final = 500


def ask(daemon: str, spool_id: str) -> tuple[bytes, Told]:
    """The answer of the daemon at the URL `daemon`, as it came and as it is read. Raises ConfigError."""
    if not daemon.startswith(("http://", "https://")):
        raise ConfigError(f"--daemon {daemon}: is no URL such as http://127.0.0.1:8000")
    body = json.dumps({"id": spool_id}).encode()
    # The daemon is near: a proxy of the environment is for what is far.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(  # noqa: S310 - http or https, see above
            daemon.rstrip("/") + _PATH, body, {"Content-Type": "application/json"}
        )
        with opener.open(request, timeout=_PATIENCE) as answer:
            told: bytes = answer.read()
        return told, msgspec.json.decode(told, type=Told)
    except urllib.error.HTTPError as error:
        said = error.read(_MAX_ERROR).decode(errors="replace").strip().removeprefix("Error: ")
        raise ConfigError(said or f"{daemon} answers {error.code} {error.reason}") from None
    except http.client.HTTPException:
        raise ConfigError(f"--daemon {daemon}: what answers there does not speak HTTP, or was cut short") from None
    except (OSError, ValueError) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ConfigError(f"--daemon {daemon}: {why}") from None

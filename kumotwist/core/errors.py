"""The exceptions that cross package borders, each with whose fault it is.

Expected results are values (`core.outcome`); these are for the rest. The
docstring of each says who is at fault and what the caller does next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kumotwist.core.outcome import Outcome


class KumotwistError(Exception):
    """Base of all errors that this package raises on purpose."""


class ConfigError(KumotwistError):
    """The operator's configuration is wrong. Say what, where and how to mend it; keep the old one."""


class PolicyError(KumotwistError):
    """A Lua handler failed. The message names file and line. Log it; answer 421, retry or refuse."""


class UnknownTable(PolicyError):
    """Policy was asked for a route table and gave none: the name is wrong, or the handler forgets one."""


class PolicyTimeout(PolicyError):
    """A Lua handler used up its budget and was stopped. Treated as any other PolicyError."""


class Rejection(KumotwistError):
    """Policy said no with `kumo.reject` or `kumo.disconnect`: a decision, not a failure.

    `code` is an SMTP reply code, `text` the reply text without the code, and
    `disconnect` tells whether the connection ends after it.
    """

    def __init__(self, code: int, text: str, disconnect: bool = False, follow_with_421: bool = False) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
        self.disconnect = disconnect
        self.follow_with_421 = follow_with_421


class LocalProtocolError(KumotwistError):
    """We asked a wire core for something its state forbids: our defect. Drop the connection, log it."""


class RemoteProtocolError(KumotwistError):
    """The peer broke its protocol. Answer with what the protocol provides, or drop the connection."""


class SpoolFull(KumotwistError):
    """No room for another message. Refuse new mail with 452 or 503; nothing accepted is lost."""


class SpoolUnhealthy(KumotwistError):
    """A write or sync failed. Stop accepting (421, 503) until the process is started anew."""


class SpoolCorrupt(KumotwistError):
    """A stored record cannot be read. It is set aside, named in the log, and the rest goes on."""


class StateUnavailable(KumotwistError):
    """The shared state file (ledger, replays, idempotency keys) cannot be used. Answer 503; nothing was noted.

    `permanent` when it is damaged: only the operator can help.
    """

    def __init__(self, text: str, permanent: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent


class SecretUnavailable(KumotwistError):
    """A key source gave no value. `permanent` when waiting will not help (no such secret)."""

    def __init__(self, text: str, permanent: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent


class Overload(KumotwistError):
    """A limit of ours is reached. Refuse with a 4xx reply or 429/503; the peer tries again later."""


class ResolveError(KumotwistError):
    """DNS gave no usable answer. `permanent` when the name does not exist."""

    def __init__(self, text: str, permanent: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent


class ConnectFailed(KumotwistError):
    """A channel could not open a session. Apply `outcome` to what was waiting for it.

    `outcome.scope` SESSION: the messages in hand; SITE: the whole ready queue.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.response.to_line())
        self.outcome = outcome


class SessionEnded(KumotwistError):
    """The session has no host left to try after having served. End quietly; a new session starts afresh."""

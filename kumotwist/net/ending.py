"""How a connection came to nothing or to its end, in an operator's words.

What Twisted, OpenSSL and the kernel say names classes, numbers and calls. These
texts stand in log records, in what providers' channels report and in what a
policy's HTTP client raises, so they are the same for every protocol.

Public: `why_ended`, `why_no_tls`, `in_words`, `kind_in_words`. Nothing goes wrong.
"""

from __future__ import annotations

import os
import re
import socket
from typing import Final

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import defer, error
from twisted.python.failure import Failure

_LATE: Final = "no answer in time"
_NO_NAME: Final = "its name was not found"
_LOST: Final = "the connection was reset or lost"
_IN_HANDSHAKE: Final = "{peer} ended the connection in the handshake"
#: What OpenSSL's reasons mean where their words do not say it; the reason itself is told with it.
_TLS_MEANINGS: Final = {
    "wrong version number": "{peer} does not speak TLS here",
    "packet length too long": "{peer} does not speak TLS here",
    "record layer failure": "{peer} does not speak TLS here",
    "http request": "{peer} does not speak TLS here",
    "unsupported protocol": "no TLS version in common",
    "tlsv1 alert protocol version": "no TLS version in common",
    "sslv3 alert handshake failure": "{peer} refused the handshake",
    "ssl/tls alert handshake failure": "{peer} refused the handshake",
    "tlsv1 alert unknown ca": "{peer} does not trust our certificate",
    "tlsv13 alert certificate required": "{peer} wants a certificate of ours",
}
#: Some words of a class: `ConnectingCancelledError` is "connecting cancelled error".
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")


def why_ended(reason: Failure | BaseException, peer: str = "the peer") -> str:
    """Why there is no connection, or no longer; without a full stop. `peer` is what the other side is called."""
    problem = _error_of(reason)
    match problem:
        case error.ConnectionDone():
            return f"{peer} closed the connection"
        case error.ConnectionAborted():
            return "given up by us"
        case error.ConnectionLost():
            return _LOST
        case error.TimeoutError() | error.TCPTimedOutError() | defer.TimeoutError() | TimeoutError():
            return _LATE
        case error.ConnectionRefusedError() | ConnectionRefusedError():
            return "connection refused"
        case error.UserError() | error.ConnectingCancelledError() | defer.CancelledError():
            return "given up by us"
        case error.ConnectBindError():
            return f"cannot connect from the source address: {_system(problem)}"
        case error.ConnectError():
            return _system(problem)
        case error.DNSLookupError():
            # Twisted's text begins with that of its class.
            return str(problem.args[0]) if problem.args and _is_ours(problem.args[0]) else _NO_NAME
        case SSL.Error() | VerificationError():
            return f"TLS failed: {why_no_tls(problem, peer)}"
        case OSError(errno=int(number)):
            return _of_number(number, problem.strerror)
    return in_words(problem)


def why_no_tls(reason: Failure | BaseException, peer: str = "the peer") -> str:
    """Why a handshake failed, for a text that says itself that one did."""
    problem = _error_of(reason)
    match problem:
        case error.ConnectionDone() | SSL.ZeroReturnError() | SSL.SysCallError():
            return _IN_HANDSHAKE.format(peer=peer)
        case VerificationError():
            return "the certificate is for another name"
        case SSL.Error():
            return _openssl(problem, peer)
    return why_ended(problem, peer)


def in_words(problem: BaseException) -> str:
    """What an error says of itself; one that says nothing, by the words of its class."""
    lines = str(problem).strip().splitlines()
    return lines[0].rstrip(".") if lines else kind_in_words(problem)


def kind_in_words(problem: BaseException) -> str:
    """The words of its class, for an error that says nothing of itself or too much."""
    return " ".join(_WORD.findall(type(problem).__name__)).lower()


def _error_of(reason: Failure | BaseException) -> BaseException:
    if not isinstance(reason, Failure):
        return reason
    return reason.value if reason.value is not None else error.ConnectionLost()


def _is_ours(text: object) -> bool:
    """Whether it is a sentence of `net.publicaddress`, which tells the host."""
    return isinstance(text, str) and text.endswith(" has no address")


def _system(problem: error.ConnectError) -> str:
    number = problem.osError
    if not isinstance(number, int):
        return _NO_NAME if isinstance(problem, error.UnknownHostError) else "the connection failed"
    return _of_number(number, problem.args[0] if problem.args else None)


def _of_number(number: int, said: object) -> str:
    """An errno, or a (negative) code of `getaddrinfo`; `said` is what the system called it."""
    if number == socket.EAI_AGAIN:
        return "its name cannot be looked up now"
    if number in (socket.EAI_NONAME, socket.EAI_NODATA):
        return _NO_NAME
    text = said if isinstance(said, str) and said else os.strerror(number)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _openssl(problem: SSL.Error, peer: str) -> str:
    """OpenSSL's queue of errors, in the order in which they came."""
    queue = problem.args[0] if problem.args and isinstance(problem.args[0], list) else []
    reasons = [str(entry[-1]) for entry in queue if entry and entry[-1]]
    if not reasons or reasons[0] == "unexpected eof while reading":
        return _IN_HANDSHAKE.format(peer=peer)
    said = ", ".join(reasons)
    meaning = next((_TLS_MEANINGS[one] for one in reasons if one in _TLS_MEANINGS), None)
    return f"{meaning.format(peer=peer)} ({said})" if meaning is not None else said

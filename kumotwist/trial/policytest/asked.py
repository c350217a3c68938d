"""What a test hands to `t:smtp`, `t:http` and `t:send`, read and checked.

Public: `letter`, `client`, `caller`, `texts`. All raise ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from kumotwist.lua.binding import flag, integer, mapping, octets, text
from kumotwist.trial.policytest.httpclient import Caller
from kumotwist.trial.policytest.smtpclient import Client, Letter

_SMTP_KEYS: Final = ("from", "to", "data", "headers", "body", "peer", "helo", "auth", "tls", "listener")
_CALLER_KEYS: Final = ("peer", "auth", "listener")
_AUTH_KEYS: Final = ("user", "password")


def letter(given: Mapping[str, object]) -> Letter:
    """The message of `t:smtp`."""
    only(given, _SMTP_KEYS, "smtp")
    sender, recipients = text(given.get("from", ""), "from"), texts(given.get("to"), "to")
    return Letter(sender, recipients, _data(given, sender, recipients))


def client(given: Mapping[str, object]) -> Client:
    """Who connects in `t:smtp`."""
    user, password = _auth(given)
    return Client(
        peer=_peer(given),
        hello=text(given.get("helo", "client.test"), "helo"),
        user=user,
        password=password,
        uses_tls="tls" in given and flag(given["tls"], "tls"),
    )


def caller(value: object) -> Caller:
    """Who calls in `t:http` and `t:send`: an address, or a table."""
    if value is None or isinstance(value, str):
        return Caller() if value is None else Caller(_peer({"peer": value}))
    given = mapping(value, "caller")
    only(given, _CALLER_KEYS, "a caller")
    user, password = _auth(given)
    return Caller(_peer(given), user, password, integer(given.get("listener", 1), "listener"))


def texts(value: object, what: str) -> list[str]:
    """One text or a list of them, at least one."""
    found = [text(one, what) for one in (value if isinstance(value, list) else [value])]
    if not found:
        raise ValueError(f"{what} must have an entry")
    return found


def only(given: Mapping[str, object], known: Sequence[str], what: str) -> None:
    """Raises ValueError when there is something that nobody would look at."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"{what} takes {', '.join(known)}, not {unknown[0]!r}")


def _peer(given: Mapping[str, object]) -> str:
    """The client's address."""
    peer = text(given.get("peer", "127.0.0.1"), "peer")
    try:
        return str(ip_address(peer))
    except ValueError:
        raise ValueError(f"peer is an IP address such as '192.0.2.1', not {peer!r}") from None


def _auth(given: Mapping[str, object]) -> tuple[str | None, str]:
    if "auth" not in given:
        return None, ""
    auth = mapping(given["auth"], "auth")
    only(auth, _AUTH_KEYS, "auth")
    return text(auth.get("user"), "auth.user"), text(auth.get("password", ""), "auth.password")


def _data(given: Mapping[str, object], sender: str, recipients: Sequence[str]) -> bytes:
    """The text of a message: `data` as it is, or headers and body put together, line ends as mail has them."""
    if given.get("data") is not None:
        beside = next((name for name in ("headers", "body") if given.get(name) is not None), None)
        if beside is not None:
            raise ValueError(f"data is a whole message: there can be no {beside} beside it")
        return _with_crlf(octets(given["data"], "data"))
    headers = {"From": sender, "To": ", ".join(recipients), "Subject": "test"}
    headers |= {name: text(value, name) for name, value in mapping(given.get("headers") or {}, "headers").items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return head.encode() + b"\r\n" + _with_crlf(octets(given.get("body", "test\r\n"), "body"))


def _with_crlf(data: bytes) -> bytes:
    lines = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return lines if lines.endswith(b"\r\n") else lines + b"\r\n"

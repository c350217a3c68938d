"""Command lines of SMTP: octets in, paths and parameters out.

Strict where a lax reading has been an attack (controls, NUL, bare CR), lax
where clients in the field are (blanks after the colon, a path without
brackets). RFC 5321 s4.1.2, RFC 6531 s3.3, Postfix's XCLIENT_README.

Public: `Malformed`, `has_controls`, `parse_path`, `parse_hello`,
`parse_xclient`. Every function raises `Malformed`, saying what is wrong.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

#: Octets of a command line with its CRLF. RFC 5321 s4.5.3.1.4 asks for 512 plus what
#: extensions add (SIZE, BODY, AUTH=, SMTPUTF8: some 600); Postfix's limit is 2048, too.
MAX_COMMAND: Final = 2048
#: Octets of an AUTH line: RFC 4954 s4.
MAX_AUTH: Final = 12288
#: Octets of a domain: RFC 5321 s4.5.3.1.2.
MAX_HELLO: Final = 255

_CONTROLS: Final = bytes(range(0x20)) + b"\x7f"
#: A path in brackets, with a quoted local part that may hold a bracket.
_BRACKETED: Final = re.compile(rb'<(?:"(?:[^"\\]|\\.)*"|[^<>"])*>')
_PARAMETER: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\xff]+))?\Z")
_HELLO: Final = re.compile(r"[A-Za-z0-9._:\-\[\]\u00a1-\U0010ffff]+\Z")
_XTEXT: Final = re.compile(r"\+([0-9A-F]{2})")
#: What Postfix lets a client say about its origin, and we use.
XCLIENT_ATTRIBUTES: Final = ("ADDR", "PORT", "DESTADDR", "DESTPORT")


class Malformed(ValueError):
    """The line is not what the grammar asks for; the text may be shown to the client."""


def has_controls(line: bytes) -> bool:
    """Whether any octet is a control: NUL, bare CR, TAB and the like."""
    return len(line.translate(None, _CONTROLS)) != len(line)


def parse_path(argument: bytes, keyword: bytes) -> tuple[str, dict[str, str]]:
    """The path, brackets and all, and the parameters of `FROM:<path> KEY=value ...`.

    `keyword` is `FROM:` or `TO:`. Parameter names come in upper case, "" being
    the value of those without one.
    """
    length = len(keyword)
    if argument[:length].upper() != keyword:
        raise Malformed(f"expected {keyword.decode()}<path>")
    value = argument[length:].strip(b" ")
    if value[:1] == b"<":
        end = value.find(b">") + 1
        if value.find(b'"', 0, end) >= 0:
            match = _BRACKETED.match(value)
            end = match.end() if match else 0
    else:
        end = (value + b" ").find(b" ")
    if end == 0:
        raise Malformed("no path")
    rest = value[end:]
    if not rest:
        return value.decode(), {}
    if rest[:1] != b" ":
        raise Malformed("blank expected behind the path")
    return value[:end].decode(), _parameters(rest)


def _parameters(text: bytes) -> dict[str, str]:
    parameters = {}
    for word in text.split():
        match = _PARAMETER.match(word)
        if match is None:
            raise Malformed("bad parameter")
        parameters[match[1].decode().upper()] = (match[2] or b"").decode()
    return parameters


def parse_hello(argument: bytes) -> str:
    """The name that a client gives itself: a domain or an address literal."""
    name = argument.strip(b" ").decode()
    if len(argument) > MAX_HELLO or not _HELLO.match(name):
        raise Malformed("expected a domain or an address literal")
    return name


def parse_xclient(argument: bytes) -> dict[str, str]:
    """The attributes of XCLIENT, checked: addresses without prefix, ports in digits.

    Attributes that the client knows nothing about (`[UNAVAILABLE]`) are absent.
    """
    attributes = {}
    for word in argument.decode().split(" "):
        name, equals, raw = word.partition("=")
        name = name.upper()
        if not equals or name not in XCLIENT_ATTRIBUTES:
            raise Malformed(f"XCLIENT takes {', '.join(XCLIENT_ATTRIBUTES)}")
        value = _XTEXT.sub(lambda match: chr(int(match[1], 16)), raw)
        if value.upper() not in ("[UNAVAILABLE]", "[TEMPUNAVAIL]"):
            attributes[name] = _port(value) if name.endswith("PORT") else _address(value)
    return attributes


def _port(value: str) -> str:
    if not value.isascii() or not value.isdigit() or not 0 <= int(value[:6]) <= 65535:
        raise Malformed("bad port")
    return value


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value[5:] if value[:5].upper() == "IPV6:" else value))
    except ValueError:
        raise Malformed("bad address") from None

"""How text becomes header fields and bodies become transfer encodings.

Used by whatever writes MIME: the builder, the rebuilder and header editing by
policy. Works on text in, bytes out, CRLF line ends.

Public: `unstructured`, `mailbox`, `address_header`, `parameter`, `ascii_domain`, `transfer_encode_text`,
`transfer_encode_binary`, `normalise_line_ends`, `date_time`, `check_header_name`,
`check_header_text`. What can go wrong: ValueError when a name or a text cannot
stand in a header (CR, LF, NUL) or an address is none.
"""

from __future__ import annotations

import base64
import binascii
import re
from email.utils import formatdate, getaddresses
from functools import lru_cache
from typing import Final

import idna

from kumotwist.core.address import parse_address

#: RFC 2047 s2: an encoded word has at most 75 characters.
MAX_ENCODED_WORD: Final = 75
#: RFC 5322 s2.1.1: a line should have at most 78 characters and must not have more than 998.
FOLD_AT: Final = 76
MAX_LINE: Final = 998
#: The longest header name taken. RFC 5322 gives none; the name must leave room for a value in a folded line.
MAX_HEADER_NAME: Final = 200

_NAME: Final = re.compile(r"[!-9;-~]+\Z")
_FORBIDDEN: Final = re.compile(r"[\r\n\0]")
_PLAIN: Final = re.compile(r"[\t -~]*\Z")
_TOKEN: Final = re.compile(r"[\t ]*[^\t ]+")
#: RFC 2047 s5(3): what may stand for itself in an encoded word that is part of a phrase.
_Q_SAFE: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q_TABLE: Final = tuple(chr(code) if code in _Q_SAFE else "_" if code == 32 else f"={code:02X}" for code in range(256))
#: RFC 2231 s7 attribute-char: what needs no percent sign.
_ATTRIBUTE_CHAR: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`{|}~")
_LONG_LINE: Final = re.compile(rb"[^\n]{%d}" % MAX_LINE)
_UNCOMMON: Final = re.compile(rb"[\x80-\xff]")
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


def check_header_name(name: str) -> str:
    """`name` itself. Raises ValueError when it cannot name a header (RFC 5322 s2.2)."""
    if not _NAME.match(name) or len(name) > MAX_HEADER_NAME:
        raise ValueError(f"{name!r} cannot be a header name")
    return name


def check_header_text(text: str) -> str:
    """`text` itself. Raises ValueError when a line break or NUL in it would end the header."""
    if _FORBIDDEN.search(text):
        raise ValueError("a header cannot contain a line break or NUL")
    return text


def unstructured(name: str, value: str) -> bytes:
    """The header field `name: value`, folded, with RFC 2047 words when it is not printable ASCII.

    A value of ASCII goes out as it stands, so words that the caller encoded
    stay what they are. Raises ValueError for CR, LF or NUL.
    """
    text = check_header_text(value).strip(" \t")
    if _PLAIN.match(text):
        line = _fold(check_header_name(name) + ":", text)
        if line is not None:
            return line
    words = _encoded_words(text, len(check_header_name(name)) + 2)
    return f"{name}: {_join_words(words)}\r\n".encode()


def mailbox(display_name: str | None, email: str) -> str:
    """`"Name" <user@domain>` as it stands in a header, not folded.

    The domain becomes its A-label (RFC 5891) when the local part is ASCII.
    Raises ValueError when `email` is no mailbox or the name holds a line break.
    """
    address = parse_address(email)
    if not address.domain:
        raise ValueError(f"not a mailbox: {email!r}")
    spec = f"{address.user}@{ascii_domain(address.domain)}" if address.user.isascii() else address.email
    if not display_name:
        return spec
    return f"{_phrase(check_header_text(display_name))} <{spec}>"


def address_header(name: str, value: str) -> bytes:
    """The address list header `name: value`; only names and domains that are not ASCII are encoded.

    Raises ValueError when `value` is not ASCII and not an address list either.
    """
    if _PLAIN.match(value):
        return unstructured(name, value)
    pairs = getaddresses([check_header_text(value)])
    if not pairs or any(not email for _, email in pairs):
        raise ValueError(f"not an address list: {value!r}")
    return mailbox_list(name, [mailbox(display, email) for display, email in pairs])


def mailbox_list(name: str, mailboxes: list[str]) -> bytes:
    """The header `name` with texts that `mailbox` made, folded between and within them."""
    text = ", ".join(mailboxes)
    line = _fold(check_header_name(name) + ":", text) if text.isascii() else None
    return line if line is not None else f"{name}: {text}\r\n".encode()


def parameter(name: str, value: str) -> str:
    """`; name="value"` on a line of its own, or the RFC 2231 form when `value` is not plain ASCII or long.

    Raises ValueError for CR, LF or NUL.
    """
    check_header_text(value)
    if _PLAIN.match(value) and value.strip() == value and len(value) + len(name) < FOLD_AT - 6:
        return f';\r\n\t{name}="{_escape(value)}"'
    coded = [chr(code) if code in _ATTRIBUTE_CHAR else f"%{code:02X}" for code in value.encode()]
    chunks, line = [], "UTF-8''"
    for piece in coded:
        if len(line) + len(piece) > FOLD_AT - len(name) - 10:
            chunks.append(line)
            line = ""
        line += piece
    chunks.append(line)
    if len(chunks) == 1:
        return f";\r\n\t{name}*={chunks[0]}"
    return "".join([f";\r\n\t{name}*{index}*={chunk}" for index, chunk in enumerate(chunks)])


@lru_cache(maxsize=4)
def date_time(seconds: int) -> str:
    """RFC 5322 s3.3 in UTC; the same second is asked for many times."""
    return formatdate(seconds).replace("-0000", "+0000")


def normalise_line_ends(data: bytes) -> bytes:
    """`data` with every CR, LF and CRLF turned into CRLF."""
    if b"\r" not in data:
        return data.replace(b"\n", b"\r\n")
    if data.count(b"\r\n") == data.count(b"\r") == data.count(b"\n"):
        return data
    return _LINE_END.sub(b"\r\n", data)


def is_plain_text(data: bytes) -> bool:
    """Whether `data`, with CRLF line ends, can travel as 7bit: ASCII, no NUL, no over-long line."""
    return data.isascii() and b"\0" not in data and (len(data) < MAX_LINE or not _LONG_LINE.search(data))


def transfer_encode_text(data: bytes) -> tuple[str, bytes]:
    """Name of the encoding and the encoded form of text with CRLF line ends.

    `7bit` when nothing needs encoding, else quoted-printable, or base64 when
    most of it is not ASCII. The result ends in CRLF.
    """
    if not data.endswith(b"\r\n"):
        data += b"\r\n"
    if is_plain_text(data):
        return "7bit", data
    # At one octet in three quoted-printable is a quarter longer than base64 and no longer readable anyway.
    if len(_UNCOMMON.findall(data)) * 3 > len(data):
        return transfer_encode_binary(data)
    # binascii takes its line end from the first one in the text, which is CRLF here.
    return "quoted-printable", binascii.b2a_qp(data, quotetabs=False, istext=True)


def transfer_encode_binary(data: bytes) -> tuple[str, bytes]:
    """Name of the encoding and the encoded form of arbitrary bytes: base64 in lines of 76."""
    return "base64", base64.encodebytes(data).replace(b"\n", b"\r\n")


def _fold(start: str, text: str) -> bytes | None:
    """`start` and `text` folded at white space; None when some line stays longer than RFC 5322 permits."""
    if len(start) + len(text) < FOLD_AT:
        return f"{start} {text}\r\n".encode()
    lines, line = [], start
    for token in _TOKEN.findall(" " + text):
        if len(line) + len(token) > FOLD_AT and line is not start:
            lines.append(line)
            line = token
        else:
            line += token
    lines.append(line)
    if any(len(one) > MAX_LINE for one in lines):
        return None
    return ("\r\n".join(lines) + "\r\n").encode()


def _encoded_words(text: str, used: int) -> list[str]:
    """RFC 2047 words for `text`; the first leaves room for `used` characters before it."""
    raw = text.encode()
    quoted = sum([len(_Q_TABLE[code]) for code in raw])
    # `=?UTF-8?Q?` and `?=` take 12; Q stays readable as long as most of the text is ASCII.
    letter, overhead = ("Q" if quoted <= 2 * len(raw) else "B"), 12
    words, chunk, size = [], bytearray(), 0
    room = max(MAX_ENCODED_WORD - overhead - used, 12)
    for character in text:
        code = character.encode()
        cost = sum([len(_Q_TABLE[one]) for one in code]) if letter == "Q" else len(code)
        limit = room if letter == "Q" else room // 4 * 3
        if size + cost > limit and chunk:
            words.append(_encoded_word(letter, bytes(chunk)))
            chunk, size, room = bytearray(), 0, MAX_ENCODED_WORD - overhead
        chunk += code
        size += cost
    words.append(_encoded_word(letter, bytes(chunk)))
    return words


def _encoded_word(letter: str, raw: bytes) -> str:
    if letter == "B":
        return f"=?UTF-8?B?{base64.b64encode(raw).decode()}?="
    return f"=?UTF-8?Q?{''.join([_Q_TABLE[code] for code in raw])}?="


def _join_words(words: list[str]) -> str:
    return "\r\n ".join(words)


def _phrase(name: str) -> str:
    if _PLAIN.match(name):
        return f'"{_escape(name)}"'
    return " ".join(_encoded_words(name, 0))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def ascii_domain(domain: str) -> str:
    """`domain` in A-labels (RFC 5891). Raises ValueError when it is no domain."""
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError(f"not an internationalised domain: {domain!r}: {error}") from None

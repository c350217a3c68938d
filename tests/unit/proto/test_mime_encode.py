"""Header fields and transfer encodings read back as what was put in."""

import base64
import email
import email.header
import email.utils
import quopri
from email import policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.mime import encode

#: Text that may stand in a header: no control but tab, no lone surrogate, nothing that looks encoded already.
HEADER_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="=?\x85"), max_size=400
)


def decoded(field: bytes) -> str:
    """The value of one field as the standard library reads it."""
    message = email.message_from_bytes(field + b"\r\n", policy=policy.compat32)
    return str(email.header.make_header(email.header.decode_header(message.items()[0][1])))


@given(HEADER_TEXT)
def test_any_text_survives_a_header(text):
    """Whatever a subject says, the reader sees exactly that (RFC 2047, RFC 5322 s2.2.3)."""
    field = encode.unstructured("Subject", text)
    assert field.endswith(b"\r\n")
    assert field.isascii()
    assert all(len(line) <= 998 for line in field.split(b"\r\n"))
    value = decoded(field).replace("\r\n", "")
    assert value == text.strip(" \t")


@given(HEADER_TEXT)
def test_no_line_of_a_header_is_blank(text):
    """A folded header never contains a line that would end the header block."""
    field = encode.unstructured("X", text)
    assert all(line.strip() for line in field[:-2].split(b"\r\n"))
    assert all(line[:1] in (b" ", b"\t") for line in field[:-2].split(b"\r\n")[1:])


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=80))
def test_any_display_name_survives(name):
    """The name before an address reads back as given, quotes, commas and emoji included."""
    field = encode.mailbox_list("To", [encode.mailbox(name, "user@example.com")])
    message = email.message_from_bytes(field + b"\r\n", policy=policy.default)
    (address,) = message["To"].addresses
    assert address.addr_spec == "user@example.com"
    assert address.display_name.replace(" ", "") == name.replace(" ", "")


@pytest.mark.parametrize("bad", ["a\rb", "a\nb", "a\r\nBcc: x@y", "a\0b"])
def test_line_breaks_and_nul_are_refused_in_headers(bad):
    """Nothing that would start another header gets into one (header injection)."""
    for call in (
        lambda: encode.unstructured("Subject", bad),
        lambda: encode.mailbox(bad, "user@example.com"),
        lambda: encode.mailbox("x", f"user{bad}@example.com"),
        lambda: encode.parameter("name", bad),
        lambda: encode.address_header("To", bad),
        lambda: encode.check_header_name(bad),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            call()


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", "x" * 201])
def test_impossible_header_names_are_refused(name):
    """RFC 5322 s2.2: printable ASCII without colon."""
    with pytest.raises(ValueError, match="header name"):
        encode.check_header_name(name)


def test_domains_become_ascii():
    """A header shows the A-label of a domain (RFC 5891), and the mailbox as it is when only SMTPUTF8 can say it."""
    assert encode.mailbox(None, "a@bücher.de") == "a@xn--bcher-kva.de"
    assert encode.mailbox("", "ä@bücher.de") == "ä@bücher.de"


def test_names_are_encoded_and_addresses_are_not():
    """`To: Jörg <a@b.c>` stays an address list that machines can read."""
    field = encode.address_header("To", "Jörg <a@b.c>, plain@b.c")
    assert field == b"To: =?UTF-8?Q?J=C3=B6rg?= <a@b.c>, plain@b.c\r\n"


def test_words_that_the_caller_encoded_stay():
    """A header that comes encoded is not encoded twice."""
    assert encode.unstructured("Subject", "=?UTF-8?q?x?=") == b"Subject: =?UTF-8?q?x?=\r\n"


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=300))
def test_any_file_name_survives(name):
    """A file name of any script and length reads back (RFC 2231)."""
    field = f"Content-Disposition: attachment{encode.parameter('filename', name)}\r\n\r\n"
    assert field.isascii()
    # get_filename() would strip white space, which the header does carry.
    found = email.message_from_bytes(field.encode()).get_param("filename", header="content-disposition")
    assert email.utils.collapse_rfc2231_value(found) == name


@given(st.text(st.characters(codec="utf-8"), max_size=2000))
def test_any_text_body_survives(text):
    """The body of a text part decodes to the same text, with CRLF line ends, in lines that SMTP permits."""
    data = encode.normalise_line_ends(text.encode())
    name, coded = encode.transfer_encode_text(data)
    assert coded.isascii()
    assert b"\0" not in coded
    assert all(len(line) <= 998 for line in coded.split(b"\r\n"))
    assert coded.replace(b"\r\n", b"").count(b"\r") == coded.replace(b"\r\n", b"").count(b"\n") == 0
    plain = {"7bit": bytes, "base64": base64.b64decode, "quoted-printable": quopri.decodestring}[name](coded)
    assert plain == (data if data.endswith(b"\r\n") else data + b"\r\n")


@given(st.binary(max_size=500))
def test_line_ends_become_crlf(data):
    """No bare CR and no bare LF is left, and nothing else changes."""
    result = encode.normalise_line_ends(data)
    rest = result.replace(b"\r\n", b"")
    assert b"\r" not in rest
    assert b"\n" not in rest
    assert result.replace(b"\r\n", b"\n") == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

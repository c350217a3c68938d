"""Bodies of HTTP forms, read back by the standard library's parser."""

from email import message_from_bytes

from hypothesis import given
from hypothesis import strategies as st

from kumotwist.net.httpform import Part, multipart, url_encoded


def parts_of(content_type, body):
    whole = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    assert whole.is_multipart()
    return whole.get_payload()


def test_a_text_field_and_a_file():
    """Mailgun's form: a recipient and the message as a file."""
    message = b"Subject: x\r\n\r\n.\r\n--\xff\x00"
    content_type, body = multipart([Part("message", message, "mime.msg"), Part("to", "jörg@example.com")])
    to, file = parts_of(content_type, body)
    assert to.get_param("name", header="content-disposition") == "to"
    assert to.get_payload(decode=True).decode() == "jörg@example.com"
    assert file.get_filename() == "mime.msg"
    assert file.get_content_type() == "application/octet-stream"
    assert file.get_payload(decode=True) == message


def test_a_file_name_cannot_break_out():
    """Quotes and line breaks in a file name do not begin another header."""
    content_type, body = multipart([Part("a", b"x", 'evil".txt\r\nX-Bad: 1')])
    (part,) = parts_of(content_type, body)
    assert part["X-Bad"] is None


@given(st.binary(max_size=300))
def test_any_data_survives(data):
    """Whatever the data, it comes out as it went in."""
    content_type, body = multipart([Part("f", data, "f.bin")])
    head, _, rest = body.partition(b"\r\n\r\n")
    boundary = content_type.partition("boundary=")[2].encode()
    assert head.startswith(b"--" + boundary)
    assert rest == data + b"\r\n--" + boundary + b"--\r\n"


def test_url_encoding():
    """Spaces, separators and non-ASCII letters are encoded."""
    assert url_encoded([("to", "a b&c=d"), ("n", "ü")]) == b"to=a+b%26c%3Dd&n=%C3%BC"

"""Messages that the builder makes read back part by part."""

import email
from email import policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.mime import builder
from kumotwist.proto.mime.encode import unstructured

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=300)
ATTACHMENT = st.builds(
    lambda data, kind, name, cid: (data, kind, name, cid),
    st.binary(max_size=300),
    st.sampled_from(["application/pdf", "image/png", "text/csv", "application/octet-stream"]),
    # Without white space at the ends, which the reader strips.
    st.none() | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")), min_size=1, max_size=60),
    st.none() | st.from_regex(r"[a-z0-9.]{1,20}@[a-z]{1,10}", fullmatch=True),
)


@given(st.lists(TEXT, min_size=1, max_size=3), st.lists(ATTACHMENT, max_size=4))
def test_what_was_put_in_reads_back(texts, attachments):
    """Texts, attachments, file names and content ids survive, as the standard library's parser reads them."""
    parts = [builder.attachment_part(d, k, file_name=n, content_id=c) for d, k, n, c in attachments]
    pairs = list(zip(attachments, parts, strict=True))
    root = builder.assemble(
        [builder.text_part(text, kind) for text, kind in zip(texts, ("plain", "x-amp-html", "html"), strict=False)],
        [part for given_, part in pairs if not given_[3]],
        [part for given_, part in pairs if given_[3]],
    )
    raw = builder.message([unstructured("Subject", "s")], root)
    message = email.message_from_bytes(raw, policy=policy.default)
    assert message["Mime-Version"] == "1.0"
    assert not [part.defects for part in message.walk() if part.defects]
    leaves = [part for part in message.walk() if not part.is_multipart()]
    assert [
        part.get_payload(decode=True).decode().replace("\r\n", "\n").removesuffix("\n") for part in leaves[: len(texts)]
    ] == texts
    expected = [one for one in attachments if one[3]] + [one for one in attachments if not one[3]]
    found = [
        (
            part.get_payload(decode=True),
            part.get_content_type(),
            part.get_filename(),
            (part["Content-ID"] or "").strip("<>") or None,
        )
        for part in leaves[len(texts) :]
    ]
    assert found == [tuple(one) for one in expected]


def test_structure_of_a_full_message():
    """Alternatives inside related inside mixed, so that readers show inline images and list attachments."""
    root = builder.assemble(
        [builder.text_part("a", "plain"), builder.text_part("<p>a</p>", "html")],
        [builder.attachment_part(b"x", "application/pdf")],
        [builder.attachment_part(b"y", "image/gif", content_id="<logo>")],
    )
    message = email.message_from_bytes(builder.message([], root))
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/related",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "image/gif",
        "application/pdf",
    ]
    assert message.get_payload(0).get_param("type") == "multipart/alternative"


@pytest.mark.parametrize(
    ("kind", "name", "cid"),
    [
        ("image/png\r\nBcc: x@y", None, None),
        ("image", None, None),
        ("multipart/mixed", None, None),
        ("image/png; " + "x" * 600, None, None),
        ("image/png", "a\r\nb", None),
        ("image/png", None, "a\r\nb"),
        ("image/png", None, "a b"),
    ],
)
def test_bad_attachment_headers_are_refused(kind, name, cid):
    """A content type, file name or id that would break the header is an error, never a broken message."""
    with pytest.raises(ValueError, match=r".+"):
        builder.attachment_part(b"", kind, file_name=name, content_id=cid)


def test_text_attachments_say_their_charset():
    """A text attachment given as JSON text is UTF-8 and says so; a charset that is given stays."""
    assert b'charset="utf-8"' in builder.attachment_part("ä".encode(), "text/csv", is_text=True).headers
    assert b"utf-8" not in builder.attachment_part(b"x", "text/csv; charset=latin1", is_text=True).headers


def test_an_attached_message_is_not_encoded():
    """RFC 2046 s5.2.1: message/rfc822 goes as it is when it can."""
    part = builder.attachment_part(b"Subject: x\n\nhi\n", "message/rfc822")
    assert part.body == b"Subject: x\r\n\r\nhi\r\n"

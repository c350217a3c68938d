"""A message taken apart for APIs that want JSON: what is kept, what is lost and said so, what is refused."""

from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from kumotwist.proto.mime import builder
from kumotwist.proto.mime.losses import LossKind, NotRepresentable, in_words
from kumotwist.proto.mime.parts import HEADERS_NOT_COPIED, Address, Decomposed, decompose, may_be_copied

PLAIN = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hi\r\n"


def taken(message: bytes) -> Decomposed:
    found = decompose(message)
    assert isinstance(found, Decomposed), found
    return found


def multipart(kind: str, *parts: bytes, parameters: str = "") -> bytes:
    """A message (or part) of that kind; each part is given with its headers."""
    boundary = f"b{abs(hash((kind, parts))):x}"
    head = f"Content-Type: multipart/{kind}; boundary={boundary}{parameters}\r\n\r\n".encode()
    return (
        head
        + b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts)
        + f"--{boundary}--\r\n".encode()
    )


def part(kind: str, body: bytes = b"x", *headers: str) -> bytes:
    return "".join(f"{header}\r\n" for header in (f"Content-Type: {kind}", *headers)).encode() + b"\r\n" + body


def kinds(found: Decomposed) -> list[LossKind]:
    return [loss.kind for loss in found.losses]


def test_a_plain_message() -> None:
    """The common case: one text, nothing lost, line ends as JSON has them."""
    found = taken(PLAIN + b"X-Tenant: one\r\n\r\nHello,\r\nworld\r\n")
    assert found.text == "Hello,\nworld\n"
    assert (found.html, found.attachments, found.inline, found.losses) == ("", (), (), ())
    assert found.from_ == (Address("", "a@example.com"),)
    assert found.subject == "Hi"
    assert found.extra_headers == (("X-Tenant", "one"),)
    assert found.header("x-tenant") == "one"
    assert found.header("x-other") is None


def test_what_a_mail_program_writes_comes_out_whole() -> None:
    """Text, HTML, a picture shown in it and a file: the shape of nearly all mail, and nothing of it is lost."""
    message = builder.message(
        [b"From: =?utf-8?q?M=C3=BCller=2C_Ann?= <ann@example.com>\r\n", b"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n"],
        builder.assemble(
            [builder.text_part("Grüße\n", "plain"), builder.text_part("<img src='cid:pic%401'>Grüße", "html")],
            [builder.attachment_part(b"\0\1pdf", "application/pdf", file_name="Rechnung für Köln.pdf")],
            [builder.attachment_part(b"png", "image/png", file_name="p.png", content_id="pic@1")],
        ),
    )
    found = taken(message)
    assert found.losses == ()
    assert found.from_ == (Address("Müller, Ann", "ann@example.com"),)
    assert (found.subject, found.text) == ("Grüße", "Grüße\n")
    assert found.html.strip() == "<img src='cid:pic%401'>Grüße"
    assert [(one.file_name, one.content_type, one.data) for one in found.attachments] == [
        ("Rechnung für Köln.pdf", "application/pdf", b"\0\1pdf")
    ]
    assert [(one.content_id, one.file_name, one.data) for one in found.inline] == [("pic@1", "p.png", b"png")]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"a@b.example", [("", "a@b.example")]),
        (b'"Doe, Jane" <j@b.example>, Bob <b@b.example>', [("Doe, Jane", "j@b.example"), ("Bob", "b@b.example")]),
        (b"=?utf-8?q?D=C3=B6e=2C_J=C3=A4ne?= <j@b.example>", [("Döe, Jäne", "j@b.example")]),
        (b'"=?utf-8?q?D=C3=B6e?=" <j@b.example>', [("Döe", "j@b.example")]),
        (b"j@b.example (Jane)", [("Jane", "j@b.example")]),
        (
            b"team: a@b.example, B <c@b.example>;, d@b.example",
            [("", "a@b.example"), ("B", "c@b.example"), ("", "d@b.example")],
        ),
        (b"undisclosed-recipients:;", []),
        (b'"a b"@b.example', [("", '"a b"@b.example')]),
        (b'"a \\"q\\" b" <j@b.example>', [('a "q" b', "j@b.example")]),
        (b"Jane\r\n <j@b.example>,\r\n\tk@b.example", [("Jane", "j@b.example"), ("", "k@b.example")]),
        ("Müller <m@müller.example>".encode(), [("Müller", "m@müller.example")]),
        (b"=?utf-8?q?a=0D=0ABcc=3A_x=40y?= <j@b.example>", [("a Bcc: x@y", "j@b.example")]),
    ],
)
def test_addresses(written: bytes, read: list[tuple[str, str]]) -> None:
    """RFC 5322 s3.4: names with commas, groups, comments, and encoded words only after the list is cut."""
    found = taken(b"To: " + written + b"\r\n\r\n")
    assert [(one.name, one.email) for one in found.to] == read
    assert found.losses == ()


def test_what_is_no_address_is_left_out_and_said() -> None:
    """One bad entry does not cost the others."""
    found = taken(b"Cc: nonsense, a@b.example, @, <x y@z>\r\nReply-To: r@b.example\r\n\r\n")
    assert found.cc == (Address("", "a@b.example"),)
    assert found.reply_to == (Address("", "r@b.example"),)
    assert in_words(found.losses) == "address (cc)"


@pytest.mark.parametrize(
    ("charset", "body", "text", "lost"),
    [
        ("utf-8", "Grüße €".encode(), "Grüße €", []),
        ("iso-8859-1", b"Gr\xfc\xdfe \x80", "Grüße €", []),  # Windows-1252, as every browser reads it
        ("iso-8859-15", b"\xa4", "€", []),
        ("gb2312", "\u4f60\u597d".encode("gb18030"), "\u4f60\u597d", []),
        ("shift_jis", "日本①".encode("cp932"), "日本①", []),
        ("iso-2022-jp", "日本".encode("iso2022_jp"), "日本", []),
        ("utf-16", "héllo".encode("utf-16"), "héllo", []),
        ("us-ascii", "Grüße".encode(), "Grüße", []),
        ("utf-8", b"\xef\xbb\xbfBOM", "BOM", []),
        ("utf-8", b"a\0b", "ab", []),
        ("utf-8", b"caf\xe9", "caf\ufffd", [LossKind.CHARSET_WRONG]),
        ("x-martian", "Grüße".encode(), "Grüße", [LossKind.CHARSET_UNKNOWN]),
        ("unicode_escape", b"\\x41", "\\x41", [LossKind.CHARSET_UNKNOWN]),
        ("rot13", b"nop", "nop", [LossKind.CHARSET_UNKNOWN]),
        ("unknown-8bit", b"caf\xe9", "café", [LossKind.CHARSET_WRONG]),
    ],
)
def test_charsets(charset: str, body: bytes, text: str, lost: list[LossKind]) -> None:
    """A wrong label costs a few characters at most, and never in silence."""
    found = taken(PLAIN + part(f"text/plain; charset={charset}", body))
    assert found.text == text
    assert kinds(found) == lost


@pytest.mark.parametrize(
    ("encoding", "body", "data", "lost"),
    [
        ("quoted-printable", b"Gr=C3=BC=C3=9Fe=\r\n!", "Grüße!", []),
        ("BASE64", b"R3LDvMOfZQ==", "Grüße", []),
        ("base64", b"R3LDvM OfZQ", "Grüße", [LossKind.ENCODING]),
        ("x-uuencode", b"begin 644 a\r\n#0V%T\r\n`\r\nend\r\n", "Cat", []),
        ("x-uuencode", b"no start", "no start", [LossKind.ENCODING]),
        ("x-martian", b"as it is", "as it is", [LossKind.ENCODING]),
        ("8bit", "Grüße".encode(), "Grüße", []),
    ],
)
def test_transfer_encodings(encoding: str, body: bytes, data: str, lost: list[LossKind]) -> None:
    """RFC 2045 s6, and damage read as far as it goes."""
    found = taken(PLAIN + part("text/plain; charset=utf-8", body, f"Content-Transfer-Encoding: {encoding}"))
    assert found.text == data
    assert kinds(found) == lost


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("attachment; filename=plain.pdf", "plain.pdf"),
        ('attachment; filename="with \\"quotes\\".pdf"', 'with "quotes".pdf'),
        ("attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe.pdf", "Größe.pdf"),
        ("attachment; filename*0*=ISO-8859-1'de'Gr%F6; filename*1=sse.pdf", "Grösse.pdf"),
        ("attachment; filename=old.pdf; filename*=utf-8''new.pdf", "new.pdf"),
        ('attachment; filename="=?utf-8?q?Gr=C3=B6=C3=9Fe=2Epdf?="', "Größe.pdf"),
        ("attachment; filename=../../etc/passwd", "passwd"),
        ('attachment; filename="C:\\\\temp\\\\a.pdf"', "a.pdf"),
        ('attachment; filename="a=0D=0A.pdf"', "a=0D=0A.pdf"),
        ("attachment; filename*=utf-8''a%0D%0ABcc%3A.pdf", "a Bcc:.pdf"),
    ],
)
def test_file_names(header: str, name: str) -> None:
    """RFC 2231, and the RFC 2047 form that half the world sends; never a path or a line break."""
    found = taken(PLAIN + part("application/pdf", b"x", f"Content-Disposition: {header}"))
    assert [one.file_name for one in found.attachments] == [name]
    assert found.losses == ()


def test_an_attachment_without_a_name_gets_one() -> None:
    """An API must have one; the reader should see what it is."""
    inner = b"Subject: Re: prices / terms\r\n\r\nforwarded"
    found = taken(PLAIN + multipart("mixed", part("text/plain"), part("image/png"), part("message/rfc822", inner)))
    assert [one.file_name for one in found.attachments] == ["part-2.png", "Re prices terms.eml"]
    assert found.attachments[1].data == inner
    assert kinds(found) == [LossKind.FILE_NAME, LossKind.FILE_NAME]


@pytest.mark.parametrize(
    "message",
    [
        multipart("signed", part("text/plain"), part("application/pkcs7-signature")),
        multipart("encrypted", part("application/pgp-encrypted", b"Version: 1"), part("application/octet-stream")),
        multipart(
            "mixed", multipart("signed", part("text/plain"), part("application/pgp-signature")), part("text/plain")
        ),
        part("application/pkcs7-mime; smime-type=enveloped-data", b"x", "Content-Disposition: attachment"),
        part("application/x-pkcs7-mime"),
        multipart("mixed", part("text/plain"), part("application/pkcs7-mime")),
        part("message/partial; id=x; number=1"),
        multipart("mixed", part("text/plain"), part("message/external-body; access-type=url")),
        multipart("mixed", *[part("text/plain")] * 600),
    ],
)
def test_what_must_stay_mime_is_refused(message: bytes) -> None:
    """A signature would break, an encrypted body has nothing to show: better refused than sent as something else."""
    found = decompose(PLAIN + message)
    assert isinstance(found, NotRepresentable)
    assert found.reason.startswith("it")


def test_signed_mail_can_be_read() -> None:
    """For whom only the text counts, as for an SMS; what is encrypted stays shut."""
    signed = PLAIN + multipart("signed", part("text/plain", b"hello"), part("application/pgp-signature", b"sig"))
    found = decompose(signed, for_reading=True)
    assert isinstance(found, Decomposed)
    assert found.text == "hello"
    assert [one.data for one in found.attachments] == [b""]  # twenty megabytes need not be decoded for one line
    encrypted = multipart("encrypted", part("application/pgp-encrypted"), part("application/octet-stream"))
    assert isinstance(decompose(PLAIN + encrypted, for_reading=True), NotRepresentable)


def test_a_signed_file_that_was_attached_is_a_file() -> None:
    """Invoices in Italy are .p7m files; the message around them is an ordinary one. So is a signed mail, forwarded."""
    signed = multipart("signed", part("text/plain"), part("application/pgp-signature"))
    found = taken(
        PLAIN
        + multipart(
            "mixed",
            part("text/plain", b"invoice"),
            part("application/pkcs7-mime", b"p7m", 'Content-Disposition: attachment; filename="i.xml.p7m"'),
            part("message/rfc822", signed, "Content-Disposition: attachment; filename=f.eml"),
        )
    )
    assert [one.file_name for one in found.attachments] == ["i.xml.p7m", "f.eml"]


def test_losses_are_named_with_the_part() -> None:
    """Whoever reads the log sees what and where."""
    found = taken(
        PLAIN
        + multipart(
            "alternative",
            part("text/plain", b"text"),
            part("text/x-amp-html", b"<html amp4email>"),
            part("text/html", b"<p>html"),
            part(
                "text/calendar; method=REQUEST; charset=utf-8",
                b"BEGIN:VCALENDAR",
                "Content-Disposition: ; filename=i.ics",
            ),
            part("text/enriched", b"rich"),
        )
    )
    assert (found.text, found.html) == ("text", "<p>html")
    assert [(one.file_name, one.content_type) for one in found.attachments] == [
        ("i.ics", 'text/calendar; charset="utf-8"; method="REQUEST"')
    ]
    assert (
        in_words(found.losses) == "amp (2 text/x-amp-html), calendar (4 text/calendar), alternative (5 text/enriched)"
    )


def test_every_loss_has_a_meaning() -> None:
    """The documentation prints them."""
    assert all(kind.meaning for kind in LossKind)


def test_the_footer_of_a_mailing_list_is_in_both_texts() -> None:
    """A text that stands beside an alternative is shown to those who read HTML, too."""
    body = multipart("alternative", part("text/plain", b"text"), part("text/html", b"<p>html</p>"))
    found = taken(PLAIN + multipart("mixed", body, part("text/plain", b"-- \r\nlist <l@example.com>")))
    assert found.text == "text\n-- \nlist <l@example.com>"
    assert found.html.startswith("<p>html</p>\n<div")
    assert "list &lt;l@example.com&gt;" in found.html
    assert kinds(found) == [LossKind.TEXTS_JOINED]


def test_nested_multiparts_are_laid_flat() -> None:
    """Everything of it is there, in order, and the loss is named."""
    inner = multipart("mixed", part("text/html", b"<b>1</b>"), part("application/pdf; name=a.pdf", b"a"))
    found = taken(PLAIN + multipart("alternative", part("text/plain", b"1"), inner))
    assert (found.text, found.html) == ("1", "<b>1</b>")
    assert [one.file_name for one in found.attachments] == ["a.pdf"]
    assert kinds(found) == [LossKind.NESTING]


def test_pictures_are_inline_only_where_the_html_shows_them() -> None:
    """Exchange gives every attachment a Content-ID; a report must not vanish for that."""
    pdf = part("application/pdf; name=r.pdf", b"r", "Content-ID: <r1>", "Content-Disposition: attachment")
    picture = part("image/png; name=p.png", b"p", "Content-ID: <p1>")
    found = taken(PLAIN + multipart("mixed", part("text/html", b'<img src="cid:p1">'), pdf, picture))
    assert [one.file_name for one in found.attachments] == ["r.pdf"]
    assert [one.content_id for one in found.inline] == ["p1"]
    text_only = taken(PLAIN + multipart("related", part("text/plain"), picture))
    assert [one.file_name for one in text_only.attachments] == ["p.png"]
    assert kinds(text_only) == [LossKind.INLINE]


def test_the_root_of_a_related_may_come_later() -> None:
    """RFC 2387 s3.2: `start` names it."""
    picture, html = (
        part("image/png; name=p.png", b"p", "Content-ID: <p>"),
        part("text/html", b"<p>", "Content-ID: <r@x>"),
    )
    found = taken(PLAIN + multipart("related", picture, html, parameters='; start="<r@x>"'))
    assert found.html == "<p>"
    assert [one.content_id for one in found.inline] == ["p"]


def test_a_bounce_becomes_text_and_files() -> None:
    """A report cannot be said in JSON; its parts can."""
    report = multipart("report", part("text/plain", b"failed"), part("message/delivery-status", b"Action: failed"))
    found = taken(PLAIN + report)
    assert found.text == "failed"
    assert [one.content_type for one in found.attachments] == ["message/delivery-status"]
    assert kinds(found) == [LossKind.REPORT, LossKind.FILE_NAME]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"Content-Type: multipart/mixed\r\n\r\n--a\r\n\r\nlost?\r\n--a--", "--a\n\nlost?\n--a--"),
        (b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nno end", "no end"),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\nno delimiter", "no delimiter"),
    ],
)
def test_a_damaged_multipart_is_shown_as_far_as_it_goes(message: bytes, text: str) -> None:
    """Nothing that the sender wrote disappears in silence."""
    found = taken(PLAIN + message)
    assert found.text == text
    assert kinds(found) == [LossKind.DAMAGED]


def test_flowed_text_is_put_back_into_paragraphs() -> None:
    """RFC 3676: a line that ends in a space goes on; quotes and the signature mark stay apart."""
    body = b"One long \r\nparagraph.\r\n\r\n> quoted \r\n> text\r\n>> deeper\r\n from space\r\n-- \r\nAnn\r\n"
    found = taken(PLAIN + part("text/plain; format=flowed", body))
    assert found.text == "One long paragraph.\n\n> quoted text\n>> deeper\nfrom space\n-- \nAnn\n"
    joined = taken(PLAIN + part("text/plain; format=flowed; delsp=yes", b"ab \r\ncd"))
    assert joined.text == "abcd"


def test_headers_of_unknown_charset_are_guessed_and_said() -> None:
    """Raw 8-bit headers are forbidden and sent."""
    found = taken(b"Subject: caf\xe9\r\nX-A: ok\r\n\r\n")
    assert found.subject == "café"
    assert in_words(found.losses) == "header_8bit (subject)"


def test_no_header_brings_a_line_break_along() -> None:
    """An encoded word may hold CR LF: in a provider's request it would be a header of the attacker's."""
    found = taken(b"Subject: =?utf-8?q?a=0D=0ABcc=3A_evil=40example=2Ecom?=\r\nX-B: =?utf-8?q?=00x=0A?=\r\n\r\n")
    assert found.subject == "a Bcc: evil@example.com"
    assert found.header("X-B") == "x"


def test_headers_that_apis_forbid() -> None:
    """What an API sets itself is not sent twice; what threads and unsubscribes is kept."""
    assert all(name == name.lower() for name in HEADERS_NOT_COPIED)
    for name in ("From", "RECEIVED", "DKIM-Signature", "Content-Type", "ARC-Seal", "Resent-To", "Bcc", "MIME-Version"):
        assert not may_be_copied(name)
    for name in ("Message-ID", "In-Reply-To", "References", "List-Unsubscribe", "X-Tenant", "Importance"):
        assert may_be_copied(name)


@given(st.binary(max_size=400))
def test_any_octets_give_a_result(data: bytes) -> None:
    """A message is whatever the peer sent."""
    assert isinstance(decompose(data), Decomposed | NotRepresentable)


LINES = st.sampled_from(
    [
        *(
            b"Content-Type: multipart/mixed; boundary=a",
            b"Content-Type: multipart/alternative; boundary=b",
            b"--a",
            b"--b",
        ),
        *(b"--a--", b"--b--", b"", b"", b"text =3D", b"Content-Type: text/html; charset=utf-7", b"+2AA- +AGE-"),
        *(
            b"Content-Transfer-Encoding: base64",
            b"QUJD",
            b"Content-ID: <x>",
            b"<img src=cid:x>",
            b"To: (((a@b.example, :;<",
        ),
        *(
            b"Content-Type: message/rfc822",
            b"Content-Disposition: attachment; filename*1=x; filename*0*=a'b'c%",
            b"\xff\xfe",
        ),
        *(
            b"Content-Type: multipart/related; start=x; boundary=a",
            b"Subject: =?utf-16?q?=D8=00?= =?x?b?=?=",
            b"begin 644 x",
        ),
        *(
            b"Content-Transfer-Encoding: x-uuencode",
            b" folded",
            b"Content-Type: text/plain; format=flowed; delsp=yes",
            b"> a ",
        ),
    ]
)


@settings(max_examples=examples(300))
@given(st.lists(LINES, max_size=25), st.sampled_from([b"\r\n", b"\n"]))
def test_any_heap_of_mime_gives_a_result_that_json_can_carry(lines: list[bytes], end: bytes) -> None:
    """However parts are heaped up: texts without NUL and surrogates, one-line headers, named files."""
    found = decompose(end.join(lines))
    if isinstance(found, NotRepresentable):
        return
    for text in (found.text, found.html, found.subject, *[value for _, value in found.headers]):
        text.encode()
        assert "\0" not in text
        assert "\r" not in text
    assert all("\n" not in value for _, value in found.headers)
    assert all(one.file_name for one in (*found.attachments, *found.inline))
    assert all(one.content_id for one in found.inline)


TEXT = st.text(st.characters(exclude_categories=["C"], exclude_characters="\u2028\u2029\x85"), min_size=1, max_size=60)


@given(TEXT, TEXT, st.binary(max_size=100), TEXT)
def test_what_the_standard_library_builds_comes_out_as_it_went_in(
    text: str, html: str, data: bytes, subject: str
) -> None:
    """Held against another implementation of MIME."""
    mail = EmailMessage()
    mail["Subject"] = subject
    mail.set_content(text)
    mail.add_alternative(html, subtype="html")
    mail.add_attachment(data, maintype="application", subtype="x-thing", filename="Größe.bin")
    found = taken(mail.as_bytes())
    assert found.text == text + "\n"
    assert found.html == html + "\n"
    assert [(one.file_name, one.data) for one in found.attachments] == [("Größe.bin", data)]
    assert found.subject.split() == subject.split()
    assert found.losses == ()

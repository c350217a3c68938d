"""What the cases of chat services have in common."""

BODY = (
    b"From: Ann <ann@src.test>\r\nSubject: parcel\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n"
    b'<p>It <b>arrived</b>. <a href="https://a.test/1">Look</a> @everyone</p>\r\n'
)
COMMON = {"recipients": ("C024BE91L@chat",), "body": BODY}

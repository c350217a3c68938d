"""Bounce and complaint reports as they come by mail."""

BOUNCE = b"""From: MAILER-DAEMON@mx.example.net\r
To: <sender@bounce.example>\r
Subject: Undelivered Mail Returned to Sender\r
MIME-Version: 1.0\r
Content-Type: multipart/report;\r
 boundary="B1"; report-type="delivery-status"\r
\r
--B1\r
Content-Type: text/plain\r
\r
I'm sorry to have to inform you that your message could not be delivered.\r
\r
--B1\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.example.net\r
X-Postfix-Queue-ID: 7A2F\r
Arrival-Date: Mon, 23 Nov 2026 19:00:00 +0000 (UTC)\r
\r
Final-Recipient: rfc822; gone@example.net\r
Original-Recipient: rfc822;alias@example.org\r
Action: failed\r
Status: 5.1.1\r
Remote-MTA: dns; imap.example.net\r
Diagnostic-Code: smtp; 550 5.1.1 <gone@example.net>: Recipient address\r
    rejected: User unknown\r
Last-Attempt-Date: Mon, 23 Nov 2026 19:29:37 +0000\r
\r
Final-Recipient: rfc822; slow@example.net\r
Action: delayed\r
Status: 4.4.1\r
\r
Final-Recipient: rfc822; full@example.net\r
Action: Failed\r
Status: 5.2.2 (mailbox full)\r
Diagnostic-Code: X-Local; quota exceeded\r
\r
--B1\r
Content-Type: text/rfc822-headers\r
\r
From: <sender@example.org>\r
Subject: hello\r
\r
--B1--\r
"""

COMPLAINT = b"""From: <abusedesk@example.com>\r
Subject: FW: Earn money\r
To: <abuse@example.net>\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=feedback-report; boundary="part1"\r
\r
--part1\r
Content-Type: text/plain; charset="US-ASCII"\r
\r
This is an email abuse report.\r
\r
--part1\r
Content-Type: message/feedback-report\r
\r
Feedback-Type: abuse\r
User-Agent: SomeGenerator/1.0\r
Version: 1\r
Original-Mail-From: <somespammer@example.net>\r
Original-Rcpt-To: <user@example.com>\r
Received-Date: Tue, 08 Mar 2005 14:00:00 -0400\r
Reporting-MTA: dns; mail.example.com\r
Source-IP: 192.0.2.1\r
Authentication-Results: mail.example.com;\r
 spf=fail smtp.mail=somespammer@example.com\r
Reported-Domain: example.net\r
Reported-Uri: http://example.net/earn_money.html\r
Reported-Uri: mailto:user@example.com\r
Incidents: 3\r
Removal-Recipient: user@example.com\r
\r
--part1\r
Content-Type: message/rfc822\r
Content-Disposition: inline\r
\r
From: <somespammer@example.net>\r
X-KumoRef: eyJfQF8iOiJcXF8vIiwicmVjaXBpZW50Ijoi\r
\tdGVzdEBleGFtcGxlLmNvbSJ9\r
Subject: Earn money\r
\r
Spam Spam Spam\r
--part1--\r
"""


def bounce_of(original: str, recipient: str, status: str = "5.7.1", reply: str = "550 5.7.1 blocked") -> str:
    """A report that `original`, with CRLF, came back for one recipient."""
    return (
        "From: MAILER-DAEMON@far.test\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nno\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; far.test\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: {status}\r\n"
        f"Diagnostic-Code: smtp; {reply}\r\n\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\n{original}\r\n--b--\r\n"
    )


def complaint_about(original: str, kind: str = "abuse") -> str:
    """A report that somebody called `original` spam, which does not say who."""
    return (
        "From: fbl@far.test\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nspam\r\n"
        "--b\r\nContent-Type: message/feedback-report\r\n\r\n"
        f"Feedback-Type: {kind}\r\nUser-Agent: Far/1\r\nVersion: 1\r\n\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\n{original}\r\n--b--\r\n"
    )

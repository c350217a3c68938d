"""All providers whose receipts come over HTTP. Public: `SCHEMES`, by channel."""

from __future__ import annotations

from typing import Final

from kumotwist.proto.receipts import (
    aws_sms,
    bird,
    brevo,
    infobip,
    kannel,
    mailgun,
    mailjet,
    plivo,
    postmark,
    resend,
    sendgrid,
    ses,
    sinch,
    sparkpost,
    telnyx,
    twilio,
    vonage,
    vonage_messages,
)
from kumotwist.proto.receipts.callback import Scheme

_ALL: Final = (
    sendgrid.SCHEME,
    mailgun.SCHEME,
    sparkpost.SCHEME,
    postmark.SCHEME,
    ses.SCHEME,
    mailjet.SCHEME,
    brevo.SCHEME,
    brevo.SMS_SCHEME,
    resend.SCHEME,
    twilio.SCHEME,
    vonage.SCHEME,
    vonage_messages.SCHEME,
    bird.SCHEME,
    plivo.SCHEME,
    sinch.SCHEME,
    infobip.SCHEME,
    telnyx.SCHEME,
    aws_sms.SCHEME,
    kannel.SCHEME,
)
SCHEMES: Final[dict[str, Scheme]] = {scheme.channel: scheme for scheme in _ALL}

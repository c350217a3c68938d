"""Calls of providers, made and signed as they make them."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from kumotwist.proto.receipts.callback import Callback
from kumotwist.proto.receipts.sns import _SIGNED

NOW = 1795462177.0
URL = "https://hooks.example.com/receipts/x/main"
CERT_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcdef.pem"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:events"


def call(body: Any = b"", method: str = "POST", query: str = "", url: str = URL, **headers: str) -> Callback:
    """A call; `_` in a header's name stands for `-`; a body that is no bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    known = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Callback(
        method=method,
        url=url + (f"?{query}" if query else ""),
        query=query,
        header=lambda name: known.get(name.lower()),
        body=data,
    )


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def jwt(key: str, claims: dict[str, Any], algorithm: str = "HS256") -> str:
    """A JWT, made by hand."""
    parts = [json.dumps({"alg": algorithm, "typ": "JWT"}), json.dumps(claims)]
    signed = ".".join([base64.urlsafe_b64encode(one.encode()).decode().rstrip("=") for one in parts])
    made = hmac.new(key.encode(), signed.encode(), "sha256").digest()
    return f"{signed}.{base64.urlsafe_b64encode(made).decode().rstrip('=')}"


class SendgridKey:
    """SendGrid's key pair."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.public = b64(
            self._key.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def headers(self, body: bytes, when: float = NOW) -> dict[str, str]:
        timestamp = str(int(when))
        signature = b64(self._key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256())))
        return {
            "X_Twilio_Email_Event_Webhook_Signature": signature,
            "X_Twilio_Email_Event_Webhook_Timestamp": timestamp,
        }


class TelnyxKey:
    """Telnyx's key pair."""

    def __init__(self) -> None:
        self._key = ed25519.Ed25519PrivateKey.generate()
        self.public = b64(self._key.public_key().public_bytes_raw())

    def headers(self, body: bytes, when: float = NOW) -> dict[str, str]:
        timestamp = str(int(when))
        return {
            "telnyx_signature_ed25519": b64(self._key.sign(f"{timestamp}|".encode() + body)),
            "telnyx_timestamp": timestamp,
        }


def mailgun_body(key: str, event: Any, when: float = NOW, token: str = "t" * 50) -> bytes:
    """Mailgun's JSON with its signature inside."""
    timestamp = str(int(when))
    signature = hmac.new(key.encode(), (timestamp + token).encode(), hashlib.sha256).hexdigest()
    signed = {"timestamp": timestamp, "token": token, "signature": signature}
    return json.dumps({"signature": signed, "event-data": event}).encode()


class Sns:
    """SNS with a certificate of its own making."""

    def __init__(self, days: int = 30) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        begins = dt.datetime.fromtimestamp(NOW, dt.UTC) - dt.timedelta(days=days)
        built = (
            x509.CertificateBuilder(name, name, self._key.public_key(), x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + dt.timedelta(days=60))
        )
        self.certificate = built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def message(self, message: Any, version: str = "2", kind: str = "Notification", **fields: Any) -> dict[str, Any]:
        """The JSON body of a message; `fields` stand in for its own, and are signed too."""
        body = {
            "Type": kind,
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": TOPIC,
            "Message": message if isinstance(message, str) else json.dumps(message),
            "Timestamp": dt.datetime.fromtimestamp(NOW, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "SignatureVersion": version,
            "SigningCertURL": CERT_URL,
            **fields,
        }
        signed = "".join([f"{name}\n{body[name]}\n" for name in _SIGNED[kind] if name in body])
        algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()
        body["Signature"] = b64(self._key.sign(signed.encode(), padding.PKCS1v15(), algorithm))
        return body

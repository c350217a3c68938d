"""What is wrong with a certificate and its key, in words, before anybody connects.

OpenSSL says only that they do not go together, and of an expired certificate
nothing at all: peers hear that. Used by `kumotwist validate`.

Public: `Findings`, `check_identity`, `check_authorities`. Nothing is raised; no text quotes a key.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Final

from attrs import define, field
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from kumotwist.core.errors import ConfigError
from kumotwist.net.tls import Identity, server_context

#: Days before the end at which it is told. Ours: ACME clients renew 30 days before the end of 90, so what has
#: less than half of that left is not being renewed.
SOON: Final = 14


@define
class Findings:
    """What was found: with an error there is no TLS, with a warning peers may refuse it."""

    errors: list[str] = field(factory=list)
    warnings: list[str] = field(factory=list)


def check_identity(chain: bytes, key: bytes, now: float) -> Findings:
    """Of a certificate chain, leaf first, and its key, both PEM, at Unix time `now`."""
    found = Findings()
    certificates = _certificates(chain, "tls_certificate", found)
    private = _private_key(key, found)
    for number, certificate in enumerate(certificates):
        _dates(certificate, number == 0, now, found)
    if certificates and private is not None:
        _together(certificates, private, found)
    if not found.errors:
        # What is left is OpenSSL's own to refuse: a key that is too short, an unknown curve.
        _attempt(lambda: server_context(Identity(chain, key)), found)
    return found


def check_authorities(authorities: bytes, now: float) -> Findings:
    """Of the certificates, PEM, that clients' must be signed by."""
    found = Findings()
    for certificate in _certificates(authorities, "tls_required_client_ca", found):
        _dates(certificate, False, now, found)
    return found


def _certificates(pem: bytes, option: str, found: Findings) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        found.errors.append(f"{option} holds no certificate in PEM form")
        return []


def _private_key(pem: bytes, found: Findings) -> PrivateKeyTypes | None:
    try:
        return serialization.load_pem_private_key(pem, None)
    except TypeError:
        found.errors.append("tls_private_key is protected by a passphrase, which nobody can give it")
    except (ValueError, UnsupportedAlgorithm):
        found.errors.append("tls_private_key holds no private key in PEM form")
    return None


def _together(certificates: list[x509.Certificate], key: PrivateKeyTypes, found: Findings) -> None:
    fitting = [_is_key_of(key, certificate) for certificate in certificates]
    if not any(fitting):
        found.errors.append(f"tls_private_key does not belong to the certificate of {_subject(certificates[0])}")
    elif not fitting[0]:
        found.errors.append("the certificate that tls_private_key belongs to must be the first of tls_certificate")


def _is_key_of(key: PrivateKeyTypes, certificate: x509.Certificate) -> bool:
    try:
        return _encoded(key.public_key()) == _encoded(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return False


def _encoded(public: object) -> bytes:
    encoded: bytes = public.public_bytes(  # type: ignore[attr-defined]  # which all kinds of keys have
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _dates(certificate: x509.Certificate, is_leaf: bool, now: float, found: Findings) -> None:
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    whose = f"the certificate of {_subject(certificate)}"
    if end < moment:
        found.warnings.append(f"{whose} expired on {end:%Y-%m-%d}")
    elif begin > moment:
        found.warnings.append(f"{whose} is not valid before {begin:%Y-%m-%d %H:%M} UTC")
    elif is_leaf and end - moment < dt.timedelta(days=SOON):
        found.warnings.append(f"{whose} expires on {end:%Y-%m-%d}, in {(end - moment).days} days")


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "no name"


def _attempt(make: Callable[[], object], found: Findings) -> None:
    try:
        make()
    except ConfigError as error:
        found.errors.append(str(error))

"""A certificate authority that lives as long as a test, for the switch, its modules and its database."""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


CERTIFIES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass
class Authority:
    """Issues certificates into a folder, where its own lies too."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def found(cls, folder: Path) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        authority = cls(folder, key, _certificate("authority", key, None, [], authority=True))
        (folder / "ca.pem").write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
        return authority

    def issue(self, name: str, *listed: x509.GeneralName) -> tuple[Path, Path]:
        """A certificate and its key, as PEM files."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, self, list(listed))
        chain, secret = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return chain, secret

    def client(self, *modules: str) -> ssl.SSLContext:
        """What a client shows whose certificate lists these modules."""
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        context.load_cert_chain(*self.issue("client", *(x509.UniformResourceIdentifier(each) for each in modules)))
        return context


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, by: Authority | None, listed: list[Any], *, authority: bool = False
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if authority:  # this and the issuer's name of its key: RFC 5280, which Python asks for from 3.13 on
        builder = builder.add_extension(CERTIFIES, critical=True)
    if by:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if listed:
        builder = builder.add_extension(x509.SubjectAlternativeName(listed), critical=False)
    return builder.sign(by.key if by else key, hashes.SHA256())

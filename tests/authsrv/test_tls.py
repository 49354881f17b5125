"""TLS for the listener."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from authsrv.shell.settings import SettingsError
from authsrv.shell.tls import tls_context

if TYPE_CHECKING:
    from pathlib import Path


def pair(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate signed by itself and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> str | None:
    """Let both talk in memory until they agree; the version that they speak."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname="switch"),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].version()


def client(least: ssl.TLSVersion, most: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version, context.maximum_version = least, most
    return context


def test_without_a_certificate_there_is_no_tls() -> None:
    """The wire is sealed by itself."""
    assert tls_context(None, None, None) is None


def test_only_the_newest_version_is_spoken(tmp_path: Path) -> None:
    """1.3 with who offers it, nothing with who does not."""
    server = tls_context(*pair(tmp_path, "switch"), None)
    assert server is not None
    v13, v12 = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2
    assert handshake(server, client(v12, v13)) == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        handshake(server, client(v12, v12))


def test_clients_show_a_certificate_where_authorities_are_named(tmp_path: Path) -> None:
    """Who has none is not let in; who has one of theirs is."""
    till = pair(tmp_path, "till")
    server = tls_context(*pair(tmp_path, "switch"), till[0])
    assert server is not None
    v13 = ssl.TLSVersion.TLSv1_3
    with pytest.raises(ssl.SSLError):
        handshake(server, client(v13, v13))
    known = client(v13, v13)
    known.load_cert_chain(*till)
    assert handshake(server, known) == "TLSv1.3"


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """Missing, not PEM, and a key of another certificate."""
    certificate, key = pair(tmp_path, "switch")
    _, other = pair(tmp_path, "other")
    none = tmp_path / "none.pem"
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    for files, named in (
        ((none, key, None), "none.pem"),
        ((text, key, None), "text.pem"),
        ((certificate, other, None), "other.key"),
        ((certificate, key, none), "tls_client_ca .*none.pem"),
        ((certificate, key, text), "tls_client_ca .*text.pem"),
    ):
        with pytest.raises(SettingsError, match=named):
            tls_context(*files)

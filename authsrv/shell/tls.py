"""TLS for the listener: version 1.3 alone, and certificates of clients where authorities are named."""

import ssl
from pathlib import Path

from authsrv.shell.settings import SettingsError


def tls_context(certificate: Path | None, key: Path | None, client_ca: Path | None) -> ssl.SSLContext | None:
    """The context of the PEM files that the settings name; None without a certificate.

    With `client_ca`, a client has to show a certificate of one of those authorities. Raises `SettingsError`.
    """
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"tls_certificate {certificate} and tls_key {key} cannot be used together: {error.strerror or error}; "
            "give a chain and its private key, both PEM"
        ) from None
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise SettingsError(
                f"tls_client_ca {client_ca} cannot be used: {error.strerror or error}; give certificates, PEM"
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context

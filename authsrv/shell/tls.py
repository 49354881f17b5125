"""TLS for the listener: version 1.3 alone, and certificates of clients where authorities are named."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from authsrv.shell.settings import SettingsError

READ_BYTES: Final = 65_536


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


class TlsLayer:
    """The switch's end of TLS over bytes: what the peer sent in, plaintext out, and back; no socket."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._layer = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._shows_certificate = context.verify_mode is ssl.CERT_REQUIRED
        self.agreed = False  # the handshake is over
        self.ended = False  # the peer will send no more

    def receive(self, data: bytes) -> bytes:
        """The plaintext that is whole now; whatever happens, `data_to_send` has something afterwards.

        Raises `ssl.SSLError`.
        """
        self._incoming.write(data)
        plain: list[bytes] = []
        try:
            if not self.agreed:
                self._layer.do_handshake()
                self.agreed = True
            while part := self._layer.read(READ_BYTES):
                plain.append(part)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(plain)

    def sealed(self, plain: bytes) -> bytes:
        """What goes out for this plaintext, after what was to go out before."""
        self._layer.write(plain)
        return self._outgoing.read()

    def data_to_send(self) -> bytes:
        """What the layer itself has to say: its handshake, its alerts."""
        return self._outgoing.read()

    def certificate(self) -> Mapping[str, Any] | None:
        """The certificate that the peer had to show, as `ssl` tells it; None where none is asked for."""
        return self._layer.getpeercert() or {} if self._shows_certificate else None

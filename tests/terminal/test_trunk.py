"""Where answers come in, and the way there with TLS."""

import datetime as dt
import ipaddress
import ssl
from functools import partial

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scripted_switch import identity

from protocol.messages import Response
from protocol.numbers import Result
from terminal import NoAnswerError, connect
from terminal.shell.trunk import Reply


@pytest.mark.parametrize("first", ["final", "not final"])
def test_a_final_answer_outlives_one_that_is_not(first):
    """Two copies are answered before anybody looks: the recorded answer counts, whichever came first."""
    final, not_final = Response(result=0).encode(), Response(result=Result.UNAVAILABLE).encode()
    reply = Reply()
    for answer in (final, not_final) if first == "final" else (not_final, final):
        reply.give(answer)
    assert reply.take() == final
    assert reply.take() is None


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that is its own authority: one file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "switch")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + dt.timedelta(days=36500))
        .add_extension(here, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "switch.pem"
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *form)
    )
    return path


@pytest.fixture
async def port(switch, nursery, certificate):
    """Where the scripted switch speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def serve(stream):
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError:
            await trio.aclose_forcefully(stream)
            return
        await switch.serve(stream)

    serving = partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1")
    (listener,) = await nursery.start(serving)
    return listener.transport_listener.socket.getsockname()[1]


async def test_a_module_speaks_tls_with_a_switch_that_it_trusts(certificate, port):
    """The sessions run inside TLS as they do without."""
    tls = ssl.create_default_context(cafile=certificate)
    async with connect("127.0.0.1", port, identity(1001), tls=tls) as till:
        assert (await till.echo()).approved


async def test_a_module_says_nothing_to_a_certificate_that_it_does_not_trust(switch, port):
    """Not even HELLO."""
    with pytest.raises(NoAnswerError) as error:
        async with connect("127.0.0.1", port, identity(1001), tls=ssl.create_default_context()) as till:
            await till.echo(deadline_s=0.5)
    assert not error.value.sent
    assert switch.bytes_in == 0

"""Certificates that are well signed and still name nobody, several, or somebody else's role."""

import datetime
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from attacked import Attacked, federation
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cutlayer.federation import serve
from cutlayer.wire import At
from cutlayer.wire.identity import Authority, Credentials
from cutlayer.wire.message import Kind, Message, decode, encode
from cutlayer.wire.remote import HEALTH

ONE = "spiffe://clinics/owner/north"
NAMES: dict[str, list[str]] = {
    "nobody": [],
    "another federation": ["spiffe://hospitals/owner/north"],
    "two parties": [ONE, "spiffe://clinics/user/u1"],
    "the same twice": [ONE, ONE],
    "an unknown role": ["spiffe://clinics/king/north"],
    "no SPIFFE name": ["https://clinics/owner/north"],
    "a longer path": [ONE + "/x"],
    "capital letters": ["spiffe://clinics/owner/North"],
    "a way out of the folder": ["spiffe://clinics/owner/.."],
    "no name": ["spiffe://clinics/owner/"],
    "300 characters": ["spiffe://clinics/owner/" + "n" * 300],
    "another port": ["spiffe://clinics:1/owner/north"],
    "a question": [ONE + "?x=1"],
}


def signed(
    authority: Authority,
    uris: list[str],
    *,
    bare: bool = False,
    days: tuple[int, int] = (-1, 1),
    host: str = "localhost",
) -> Credentials:
    """Credentials that the authority itself would never issue.

    Args:
        bare: Without any alternative name.
        days: In force from, to.
    """
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    secret = (authority.folder / "authority.key.pem").read_bytes()
    root: Any = serialization.load_pem_private_key(secret, password=None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "north")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
    )
    names = [*map(x509.UniformResourceIdentifier, uris), x509.DNSName(host)]
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    if not bare:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    return Credentials(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        builder.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
        (authority.folder / "authority.pem").read_bytes(),
    )


def shown(attacked: Attacked, credentials: Credentials) -> grpc.StatusCode | None:
    """The code with which somebody is turned away; none if not."""
    with attacked.channel(credentials) as channel:
        ask: Any = channel.unary_unary(HEALTH)
        try:
            ask(b"", timeout=3)
        except grpc.RpcError as e:
            code: grpc.StatusCode = e.code()
            return code
    return None


def test_a_name_that_is_none_is_refused(attacked: Attacked, authority: Authority) -> None:
    with attacked.beside():
        for name, uris in NAMES.items():
            code = shown(attacked, signed(authority, uris))
            assert code == grpc.StatusCode.PERMISSION_DENIED, name


def test_who_is_named_nowhere_is_refused(attacked: Attacked, authority: Authority) -> None:
    with attacked.beside():
        code = shown(attacked, signed(authority, [], bare=True))
        assert code == grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("days", [(-9, -1), (1, 9)], ids=["over", "not yet in force"])
def test_a_certificate_out_of_force_is_refused(
    attacked: Attacked, authority: Authority, days: tuple[int, int]
) -> None:
    with attacked.beside():
        code = shown(attacked, signed(authority, [ONE], days=days))
        assert code == grpc.StatusCode.UNAVAILABLE  # in the handshake


def test_a_certificate_that_an_owner_signed_is_refused(
    attacked: Attacked, parties: Path, authority: Authority
) -> None:
    class Signer:
        """An owner that plays the authority."""

        folder = attacked.folder / "signer"
        certificate = x509.load_pem_x509_certificate(
            (parties / "south/certificate.pem").read_bytes()
        )

    Signer.folder.mkdir()
    key = (parties / "south/key.pem").read_bytes()
    (Signer.folder / "authority.key.pem").write_bytes(key)
    (Signer.folder / "authority.pem").write_bytes((authority.folder / "authority.pem").read_bytes())
    signer: Any = Signer
    made = signed(signer, [ONE])
    chain = made.certificate + (parties / "south/certificate.pem").read_bytes()
    with attacked.beside():
        for certificate in (made.certificate, chain):
            code = shown(attacked, Credentials(made.key, certificate, made.authority))
            assert code == grpc.StatusCode.UNAVAILABLE


def test_another_partys_key_is_of_no_use(attacked: Attacked, parties: Path) -> None:
    south, north = (Credentials.load(parties / name) for name in ("south", "north"))
    mixed = Credentials(south.key, north.certificate, south.authority)
    with attacked.beside():
        assert shown(attacked, mixed) is not None


def test_a_server_cannot_be_an_owner(attacked: Attacked) -> None:
    with attacked.beside() as at:
        for name in ("hub", "middle"):
            (reply,) = attacked.say(name, Message.at(Kind.SAVE, at))
            assert reply == grpc.StatusCode.PERMISSION_DENIED


class Says(grpc.GenericRpcHandler):
    """Done, whatever is asked."""

    def service(self, details: Any) -> Any:
        def done(messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
            for message in messages:
                yield encode(decode(message).reply(Kind.DONE))

        return grpc.stream_stream_rpc_method_handler(done)


@contextmanager
def impostor(played: Path) -> Iterator[str]:
    """An address at which these credentials are shown."""
    shown = Credentials.load(played)
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Says(),))
    pair = [(shown.key, shown.certificate)]
    tls = grpc.ssl_server_credentials(pair, shown.authority, require_client_auth=True)
    port = server.add_secure_port("localhost:0", tls)
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("name", ["hub", "north", "u1", "middle", "twin"])
def test_nobody_but_the_server_can_play_the_server(
    parties: Path, tmp_path: Path, name: str
) -> None:
    twin = Authority.create(tmp_path / "authority", "clinics")  # the same names
    twin.issue("server", "hub", tmp_path / "twin", addresses=["localhost"])
    played = tmp_path / name if name == "twin" else parties / name
    with impostor(played) as address:
        known = replace(federation(), addresses={"hub": address})
        with serve.reached(known, "hub", Credentials.load(parties / "south")) as far:
            far.patience = 0.5
            if name == "hub":
                return far.hello(At("first", 1, 0, 0), 3)
            with pytest.raises(ConnectionError):
                far.hello(At("first", 1, 0, 0), 3)

"""Who is who: a certificate authority of one's own, and a certificate for each party.

A party is named as SPIFFE has it, ``spiffe://FEDERATION/ROLE/NAME``, in its certificate's
subject alternative name. Nobody is let in by name alone: the certificate has to be signed by the
federation's authority, in force, and not revoked.
"""

import datetime
import ipaddress
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..roles import ROLES, Role

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_YEARS, _DAYS = 10, 90  # an authority's life, a party's
_BEFORE = datetime.timedelta(minutes=5)  # clocks differ


@dataclass(frozen=True)
class Identity:
    """A party's name in a federation.

    >>> str(Identity("clinics", "owner", "north")), Identity.parse("spiffe://clinics/user/u1").role
    ('spiffe://clinics/owner/north', 'user')
    """

    federation: str
    role: Role
    name: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}: got {self.role!r}")
        for what, text in (("federation", self.federation), ("party", self.name)):
            if not _NAME.fullmatch(text):
                raise ValueError(
                    f"name of a {what}: small letters, digits, '-' and '.' wanted, 63 at most, a "
                    f"letter or digit first: got {text!r}"
                )

    def __str__(self) -> str:
        return f"spiffe://{self.federation}/{self.role}/{self.name}"

    @property
    def host(self) -> str:
        """The same as a host name, by which TLS makes sure of who was reached, wherever it is."""
        return f"{self.name}.{self.role}.{self.federation}"

    @classmethod
    def parse(cls, uri: str) -> "Identity":
        """The inverse of ``str``.

        Raises:
            ValueError: it is no such name.
        """
        scheme, _, rest = uri.partition("://")
        parts = rest.split("/")
        if scheme != "spiffe" or len(parts) != 3:
            raise ValueError(f"spiffe://FEDERATION/ROLE/NAME wanted: got {uri!r}")
        return cls(parts[0], parts[1], parts[2])  # type: ignore[arg-type]


@dataclass(frozen=True)
class Credentials:
    """What a party shows and what it checks others by, PEM each: its key, its certificate, and the
    certificate of the authority."""

    key: bytes
    certificate: bytes
    authority: bytes

    @classmethod
    def load(cls, folder: Path) -> "Credentials":
        """From a party's folder, see ``Authority.issue``.

        Raises:
            ValueError: there are none, they are damaged, not yet or no longer in force.
        """
        try:
            found = cls(*((folder / name).read_bytes() for name in _FILES))
            start, end = when(found.certificate)
        except (OSError, ValueError) as e:
            raise ValueError(
                f"{folder}: {', '.join(_FILES)} wanted: {e}; 'cutlayer identity issue' makes them"
            ) from e
        now = _now()
        if not start <= now <= end:
            raise ValueError(
                f"{folder}: a certificate in force wanted: it is from {start:%Y-%m-%d %H:%M} to "
                f"{end:%Y-%m-%d %H:%M}, now is {now:%Y-%m-%d %H:%M} UTC; issue another, or set "
                "the clock"
            )
        return found


_FILES = ("key.pem", "certificate.pem", "authority.pem")


class Authority:
    """Signs the certificates of one federation, and says which it has taken back.

    Its folder holds ``authority.key.pem``, which never leaves it, ``authority.pem`` and
    ``revoked.json``, which every party that lets others in has to have.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            key = serialization.load_pem_private_key(
                (folder / "authority.key.pem").read_bytes(), password=None
            )
            self.certificate = x509.load_pem_x509_certificate(
                (folder / "authority.pem").read_bytes()
            )
        except (OSError, ValueError) as e:
            raise ValueError(
                f"{folder}: an authority wanted: {e}; 'cutlayer identity create' makes one"
            ) from e
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    @classmethod
    def create(cls, folder: Path, federation: str) -> "Authority":
        """A new one.

        Raises:
            ValueError: the name will not do, or an authority is there already.
        """
        Identity(federation, "server", "any")
        if (folder / "authority.key.pem").exists():
            raise ValueError(
                f"{folder}: a folder without an authority wanted: what it issued would become "
                "worthless; take another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, federation)])
        life = datetime.timedelta(days=365 * _YEARS)
        builder = _builder(name, name, key.public_key(), life)
        builder = builder.add_extension(x509.BasicConstraints(True, 0), critical=True)
        certificate = builder.sign(key, hashes.SHA256())
        _write_secret(folder / "authority.key.pem", _pem(key))
        (folder / "authority.pem").write_bytes(_certificate_pem(certificate))
        (folder / "revoked.json").write_text("[]\n")
        return cls(folder)

    @property
    def federation(self) -> str:
        (name,) = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(name.value)

    def issue(
        self,
        role: Role,
        name: str,
        out: Path,
        *,
        addresses: Sequence[str] = (),
        life: datetime.timedelta = datetime.timedelta(days=_DAYS),
    ) -> Identity:
        """A key and a certificate for a party, into a folder for it alone.

        Args:
            addresses: Host names and IP addresses, for tools that go by them; ours go by the
                party's name.

        Raises:
            ValueError: a name that will not do, or the folder has a key already.
        """
        identity = Identity(self.federation, role, name)
        if (out / _FILES[0]).exists():
            raise ValueError(f"{out}: a folder without a key wanted: take another, or remove it")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self.certificate.subject, key.public_key(), life)
        names = (identity.host, *addresses)
        alternatives = [x509.UniformResourceIdentifier(str(identity)), *_hosts(names)]
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        for extension in (x509.SubjectAlternativeName(alternatives), x509.ExtendedKeyUsage(uses)):
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        out.mkdir(parents=True, exist_ok=True)
        _write_secret(out / _FILES[0], _pem(key))
        (out / _FILES[1]).write_bytes(_certificate_pem(certificate))
        (out / _FILES[2]).write_bytes(_certificate_pem(self.certificate))
        return identity

    def revoke(self, certificate: bytes) -> None:
        """Take a certificate back: its number joins ``revoked.json``."""
        path = self.folder / "revoked.json"
        numbers = {*revoked(path), x509.load_pem_x509_certificate(certificate).serial_number}
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps(sorted(map(str, numbers))) + "\n")
        aside.replace(path)


def revoked(path: Path) -> frozenset[int]:
    """The numbers in a list of certificates that were taken back.

    Raises:
        ValueError: there is no such list, or it is none: then nobody can be let in.
    """
    try:
        return frozenset(int(number) for number in json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as e:
        raise ValueError(f"{path}: a list of revoked certificates wanted: {e}") from e


def when(certificate: bytes) -> tuple[datetime.datetime, datetime.datetime]:
    """From when until when a certificate is in force.

    Raises:
        ValueError: it is no certificate.
    """
    found = x509.load_pem_x509_certificate(certificate)
    return found.not_valid_before_utc, found.not_valid_after_utc


@lru_cache(maxsize=256)
def _read(certificate: bytes) -> x509.Certificate:
    """A certificate as it was shown; the same one is shown with every call."""
    return x509.load_pem_x509_certificate(certificate)


def number_of(certificate: bytes) -> int:
    """By which a certificate is taken back."""
    return _read(certificate).serial_number


def who(certificate: bytes, *, without: Iterable[int] = ()) -> Identity:
    """The party that a certificate names. TLS has checked the signature and the dates.

    Args:
        without: Numbers of certificates that were taken back.

    Raises:
        ValueError: it names none, or was revoked.
    """
    found = _read(certificate)
    if found.serial_number in without:
        raise ValueError(f"a certificate in force wanted: {found.serial_number} was revoked")
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as e:
        raise ValueError("a certificate that names its party wanted: it names none") from e
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise ValueError(f"a certificate of one party wanted: it names {len(uris)}")
    return Identity.parse(uris[0])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    life: datetime.timedelta,
) -> x509.CertificateBuilder:
    start = _now() - _BEFORE
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + life)
    )


def _hosts(addresses: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for address in addresses:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            found.append(x509.DNSName(address))
    return found


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_secret(path: Path, content: bytes) -> None:
    """For its owner's eyes alone, from the first moment on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)

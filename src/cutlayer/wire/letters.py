"""Letters: what one party writes to others so that whoever passes it on cannot read or change it.

The content is encrypted once under a random key, the key once per reader, and the sender signs
the whole: who writes, to whom, about what, and the encrypted content. A party's certificate says
which key is whose. Nothing here is secret from a reader's own stolen key: keys last as long as
their certificates. ``docs/wire.md`` has the format, and what a letter does not protect against.
"""

import datetime
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .identity import Credentials, Identity, who

MAGIC, VERSION = b"CUTE", 1
MOST_READERS, MOST_SUBJECT, MOST_CERTIFICATE, MOST_CONTENT = 255, 1000, 8000, 64 * 2**20
# Magic, version, readers; bytes of subject, certificate and content; ephemeral key, nonce.
_HEAD = struct.Struct("<4sBBHHQ65s12s")
_ENTRY = struct.Struct("<32s48s")  # a reader's fingerprint, the content key encrypted for it
_TAG, _SIGNATURE = 16, 64
# The key that signs letters signs TLS handshakes too. In TLS 1.2 the other side chooses the first
# 32 bytes that are signed, and nobody the 32 after them: 64 fixed bytes are never a handshake's.
_SIGNED = b"cutlayer: a letter, version 1".ljust(64, b"\0")
_WRAPPED = b"cutlayer: key of a letter, version 1".ljust(64, b"\0")
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
_BAD = (  # what reading a certificate may raise
    *(ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion),
    *(x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)


class LetterError(ValueError):
    """A letter that cannot be sealed, or must not be opened."""


@dataclass(frozen=True)
class _Parts:
    """A letter taken apart: the lengths fit, nothing else is known yet."""

    head: memoryview  # all before the content
    subject: bytes
    certificate: bytes
    ephemeral: bytes
    nonce: bytes
    keys: dict[bytes, bytes]  # by a reader's fingerprint
    content: memoryview
    signature: bytes


def seal(content: bytes, sender: Credentials, readers: Sequence[bytes], *, subject: str) -> bytes:
    """A letter that its readers can open, and nobody else.

    Args:
        readers: Their certificates, PEM. That the sender's authority signed them is looked at
            here; whose they are, and whether they were revoked, is for ``checked`` before.
        subject: What it is and where it belongs, "clinics-1/epoch 3/segment of owner 0": a reader
            takes a letter only under the subject it expects. Not secret. Two letters of one
            sender with the same subject can be taken for each other.

    Raises:
        LetterError: too long, no reader, one twice, or a certificate that will not do.
    """
    text, mine = _written(subject), _certificate(sender.certificate)
    if len(content) > MOST_CONTENT:
        raise LetterError(f"letter of at most {MOST_CONTENT:,} bytes wanted: got {len(content):,}")
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    key, nonce, point = os.urandom(32), os.urandom(12), _point(ephemeral)
    entries = [
        _entry(key, ephemeral, _trusted(_certificate(reader), sender.authority), mine, text)
        for reader in readers
    ]
    if not 1 <= len(set(entries)) == len(entries) <= MOST_READERS:
        raise LetterError(f"1 to {MOST_READERS} readers, each once, wanted: got {len(entries)}")
    certificate = mine.public_bytes(serialization.Encoding.DER)
    sizes = (len(entries), len(text), len(certificate), len(content) + _TAG)
    fields = _HEAD.pack(MAGIC, VERSION, *sizes, point, nonce)
    head = b"".join([fields, text, certificate, *entries])
    body = AESGCM(key).encrypt(nonce, content, head)
    return b"".join([head, body, _sign(_private(sender.key), head, body)])


def unseal(
    letter: bytes,
    reader: Credentials,
    *,
    sender: Identity,
    subject: str,
    without: Iterable[int] = (),
) -> bytes:
    """The content of a letter, once everything about it is as expected.

    Args:
        sender: Who must have written it.
        subject: What it must be.
        without: Numbers of certificates that were taken back.

    Raises:
        LetterError: the first thing that is wrong with it. Nothing is decrypted before the
            signature holds.
    """
    parts = _apart(letter)
    theirs = _certificate(parts.certificate, der=True)
    _named(_trusted(theirs, reader.authority), sender, without)
    _verify(_public(theirs), parts)
    if parts.subject != _written(subject):
        raise LetterError(f"letter {subject!r} wanted: got {_shown(parts.subject)}")
    mine = _certificate(reader.certificate)
    if (wrapped := parts.keys.get(_fingerprint(mine))) is None:
        raise LetterError(f"letter for {_holder(mine)} wanted: it is for others")
    try:
        secret = _private(reader.key).exchange(ec.ECDH(), _ephemeral(parts.ephemeral))
        key = _wrapping(secret, parts.ephemeral, mine, theirs, parts.subject)
        opened = AESGCM(key.decrypt(bytes(12), wrapped, None))
        return opened.decrypt(parts.nonce, parts.content, parts.head)
    except InvalidTag as e:
        raise LetterError(f"letter encrypted by {sender} wanted: another did, or wrongly") from e


def checked(
    certificate: bytes, authority: bytes, *, expected: Identity, without: Iterable[int] = ()
) -> x509.Certificate:
    """A party's certificate that somebody else passed on, PEM, if it is what it should be.

    Args:
        authority: The certificate of the federation's authority, PEM.
        expected: Whose it must be.
        without: Numbers of certificates that were taken back.

    Raises:
        LetterError: another signed it, it is not in force or was revoked, it is an authority's,
            of another kind of key, or another party's.
    """
    return _named(_trusted(_certificate(certificate), authority), expected, without)


def holder(certificate: bytes, authority: bytes, *, without: Iterable[int] = ()) -> Identity:
    """Whose certificate it is, see ``checked``.

    Raises:
        LetterError: anything that ``checked`` refuses, whoever is expected.
    """
    return _in_force(_trusted(_certificate(certificate), authority), without)


def _certificate(encoded: bytes, *, der: bool = False) -> x509.Certificate:
    load = x509.load_der_x509_certificate if der else x509.load_pem_x509_certificate
    try:
        return load(encoded)
    except _BAD as e:
        raise LetterError(f"a party's certificate wanted: {e}") from e


def _trusted(found: x509.Certificate, authority: bytes) -> x509.Certificate:
    """The same, if the authority signed it for a party and both are in force."""
    root = _certificate(authority)
    try:
        found.verify_directly_issued_by(root)
    except (*_BAD, InvalidSignature) as e:
        raise LetterError("a certificate signed by the federation's authority wanted") from e
    for what, one in (("a certificate", found), ("an authority", root)):
        start, end = one.not_valid_before_utc, one.not_valid_after_utc
        if not start <= (now := datetime.datetime.now(datetime.UTC)) <= end:
            raise LetterError(
                f"{what} in force wanted: it is from {start:%Y-%m-%d %H:%M} to "
                f"{end:%Y-%m-%d %H:%M}, now is {now:%Y-%m-%d %H:%M} UTC"
            )
    if _is_authority(found):
        raise LetterError("a party's certificate wanted: got an authority's")
    _public(found)
    return found


def _is_authority(found: x509.Certificate) -> bool:
    try:
        return found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    except _BAD as e:
        raise LetterError(f"a party's certificate wanted: {e}") from e


def _named(found: x509.Certificate, expected: Identity, without: Iterable[int]) -> x509.Certificate:
    """The same, if it names the one expected and was not revoked."""
    if (named := _in_force(found, without)) != expected:
        raise LetterError(f"a certificate of {expected} wanted: got one of {named}")
    return found


def _in_force(found: x509.Certificate, without: Iterable[int]) -> Identity:
    try:
        return who(found.public_bytes(serialization.Encoding.PEM), without=without)
    except _BAD as e:
        raise LetterError(str(e)) from e


def _holder(found: x509.Certificate) -> Identity:
    return who(found.public_bytes(serialization.Encoding.PEM))


def _public(found: x509.Certificate) -> ec.EllipticCurvePublicKey:
    try:
        key = found.public_key()
    except _BAD as e:
        raise LetterError(f"a certificate of a P-256 key wanted: {e}") from e
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise LetterError(f"a certificate of a P-256 key wanted: got {type(key).__name__}")
    return key


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except _BAD as e:
        raise LetterError(f"a party's own key wanted: {e}") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise LetterError(f"a party's own P-256 key wanted: got {type(key).__name__}")
    return key


def _fingerprint(found: x509.Certificate) -> bytes:
    return found.fingerprint(hashes.SHA256())


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    point = serialization.PublicFormat.UncompressedPoint
    return key.public_key().public_bytes(serialization.Encoding.X962, point)


def _ephemeral(point: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as e:
        raise LetterError(f"letter with a P-256 key wanted: {e}") from e


def _written(subject: str) -> bytes:
    text = subject.encode()
    if not 1 <= len(text) <= MOST_SUBJECT:
        raise LetterError(f"subject of 1 to {MOST_SUBJECT} bytes wanted: got {len(text):,}")
    return text


def _shown(subject: bytes) -> str:
    return repr(subject.decode(errors="replace"))


def _entry(
    key: bytes,
    ephemeral: ec.EllipticCurvePrivateKey,
    reader: x509.Certificate,
    sender: x509.Certificate,
    subject: bytes,
) -> bytes:
    """One reader's line: who it is, and the content key for its eyes alone."""
    secret = ephemeral.exchange(ec.ECDH(), _public(reader))
    wrapping = _wrapping(secret, _point(ephemeral), reader, sender, subject)
    return _ENTRY.pack(_fingerprint(reader), wrapping.encrypt(bytes(12), key, None))


def _wrapping(
    secret: bytes,
    ephemeral: bytes,
    reader: x509.Certificate,
    sender: x509.Certificate,
    subject: bytes,
) -> AESGCM:
    """Encrypts the content key for one reader, once: so its nonce can be 0."""
    about = b"".join([_WRAPPED, ephemeral, _fingerprint(reader), _fingerprint(sender), subject])
    return AESGCM(HKDF(hashes.SHA256(), length=32, salt=None, info=about).derive(secret))


def _digest(*parts: bytes | memoryview) -> bytes:
    state = hashes.Hash(hashes.SHA256())
    for part in (_SIGNED, *parts):
        state.update(part)
    return state.finalize()


def _sign(key: ec.EllipticCurvePrivateKey, *parts: bytes) -> bytes:
    """r and s, 32 bytes each. Of the two s that hold, the smaller: else anyone could swap them."""
    r, s = decode_dss_signature(key.sign(_digest(*parts), ec.ECDSA(Prehashed(hashes.SHA256()))))
    return r.to_bytes(32, "big") + min(s, _ORDER - s).to_bytes(32, "big")


def _verify(key: ec.EllipticCurvePublicKey, parts: _Parts) -> None:
    r, s = (int.from_bytes(half, "big") for half in (parts.signature[:32], parts.signature[32:]))
    try:
        if s > _ORDER // 2:
            raise InvalidSignature
        digest, how = _digest(parts.head, parts.content), ec.ECDSA(Prehashed(hashes.SHA256()))
        key.verify(encode_dss_signature(r, s), digest, how)
    except InvalidSignature as e:
        raise LetterError("letter as its sender signed it wanted: it was altered") from e


def _apart(letter: bytes) -> _Parts:
    """The parts of a letter. Every length is held against what came before anything is cut."""
    if len(letter) < _HEAD.size:
        raise LetterError(f"letter of at least {_HEAD.size} bytes wanted: got {len(letter):,}")
    magic, version, readers, subject, certificate, content, point, nonce = _HEAD.unpack_from(letter)
    if (magic, version) != (MAGIC, VERSION):
        raise LetterError(
            f"letter {MAGIC.decode()} of version {VERSION} wanted: got {magic!r} of {version}"
        )
    for what, size, least, most in (
        ("readers", readers, 1, MOST_READERS),
        ("bytes of subject", subject, 1, MOST_SUBJECT),
        ("bytes of certificate", certificate, 1, MOST_CERTIFICATE),
        ("bytes of content", content, _TAG, MOST_CONTENT + _TAG),
    ):
        if not least <= size <= most:
            raise LetterError(f"letter of {least:,} to {most:,} {what} wanted: got {size:,}")
    sizes = (_HEAD.size, subject, certificate, readers * _ENTRY.size, content, _SIGNATURE)
    if sum(sizes) != len(letter):
        raise LetterError(f"letter of {sum(sizes):,} bytes wanted: got {len(letter):,}")
    whole, ends = memoryview(letter), list(accumulate(sizes))
    _, text, der, entries, body, signature = (
        whole[end - size : end] for size, end in zip(sizes, ends, strict=True)
    )
    keys: dict[bytes, bytes] = dict(_ENTRY.iter_unpack(entries))
    small = bytes(text), bytes(der), point, nonce, keys
    return _Parts(whole[: ends[3]], *small, body, bytes(signature))

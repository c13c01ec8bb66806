"""What a party signed, for whoever has the federation's authority to check it by."""

from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .identity import Credentials, Identity
from .letters import holder

_HOW = ec.ECDSA(hashes.SHA256())


class SignatureError(ValueError):
    """A signature that does not hold, or cannot be made."""


def sign(content: bytes, credentials: Credentials, *, purpose: str) -> bytes:
    """A party's signature, ECDSA over P-256 and SHA-256, DER.

    Args:
        purpose: What is signed, "a policy, version 1": a signature for one holds for no other,
            nor for a letter or a TLS handshake, which the same key signs.

    Raises:
        SignatureError: the key is not the one that the certificate is about, or none.
        LetterError: a certificate that will not do.
    """
    try:
        key = serialization.load_pem_private_key(credentials.key, password=None)
    except (ValueError, TypeError) as e:
        raise SignatureError(f"a party's own key wanted: {e}") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SignatureError(f"a party's own P-256 key wanted: got {type(key).__name__}")
    made = key.sign(_signed(content, purpose), _HOW)
    shown = credentials.certificate, credentials.authority
    try:
        verified(content, made, *shown, purpose=purpose)
    except SignatureError as e:
        raise SignatureError("the key of this certificate wanted: got another's") from e
    return made


def verified(
    content: bytes,
    signature: bytes,
    certificate: bytes,
    authority: bytes,
    *,
    purpose: str,
    without: Iterable[int] = (),
) -> Identity:
    """Who signed this.

    Args:
        certificate: Of who signed, as it came with the content, PEM.
        authority: Of the federation, PEM.
        without: Numbers of certificates that were taken back.

    Raises:
        LetterError: the certificate is not by that authority, not in force, or was revoked.
        SignatureError: that party did not sign this, or signed it as something else.
    """
    party = holder(certificate, authority, without=without)
    key = x509.load_pem_x509_certificate(certificate).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        key.verify(signature, _signed(content, purpose), _HOW)
    except InvalidSignature as e:
        raise SignatureError(f"as {party} signed it wanted: it was altered since") from e
    return party


def _signed(content: bytes, purpose: str) -> bytes:
    """Behind 64 fixed bytes: no TLS handshake, whoever chooses its numbers, begins with them."""
    return f"cutlayer: {purpose}".encode().ljust(64, b"\0") + content

"""A JSON file with the signature of who wrote it, read as from somebody who wishes you ill."""

import base64
import binascii
import json
import os
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from ..errors import ConfigError
from .identity import Credentials, Identity
from .letters import LetterError, holder
from .signature import SignatureError, sign, verified

MOST = 200_000  # bytes of the file


class UntrustedError(ConfigError):
    """Nobody signed it, or nobody whose signature counts."""


def canonical(value: Any) -> bytes:
    """One spelling for one meaning: what is signed.

    Raises:
        ConfigError: no JSON values.
    """
    try:
        spelt = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as e:
        raise ConfigError(f"JSON values wanted: {e}") from e
    return spelt.encode("ascii")


def write(path: Path, kind: str, content: Any, credentials: Credentials | None) -> None:
    """Write JSON values, signed or not.

    Args:
        kind: What it is, "policy": its key in the file, and of what the signature holds.

    Raises:
        ConfigError: credentials that cannot sign.
        OSError: the disk is full, or cannot be written; what was there is there still.
    """
    certificate = signature = None
    if credentials is not None:
        try:
            made = sign(canonical(content), credentials, purpose=_purpose(kind))
        except (LetterError, SignatureError) as e:
            raise ConfigError(f"identity: {e}") from e
        certificate = credentials.certificate.decode()
        signature = base64.b64encode(made).decode()
    envelope = {kind: content, "certificate": certificate, "signature": signature}
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(envelope, indent=1, allow_nan=False) + "\n")
    aside.replace(path)


def read_signed(
    path: Path, kind: str, authority: bytes, revoked: Iterable[int]
) -> tuple[Any, Identity]:
    """The values, and who signed them.

    Raises:
        UntrustedError: nobody signed it, somebody of another authority, or it was altered.
        ConfigError: it is no such file.
    """
    envelope = _opened(path, kind)
    certificate, signature = envelope["certificate"], envelope["signature"]
    if certificate is None and signature is None:
        raise UntrustedError(f"a signed {kind} wanted: nobody has signed this one")
    if not isinstance(certificate, str) or not isinstance(signature, str):
        raise UntrustedError("certificate and signature as text wanted")
    try:
        pair = certificate.encode("ascii"), base64.b64decode(signature, validate=True)
    except (UnicodeError, binascii.Error, ValueError) as e:
        raise UntrustedError(f"a certificate as PEM, a signature as base64 wanted: {e}") from e
    try:
        party = verified(
            canonical(envelope[kind]),
            pair[1],
            pair[0],
            authority,
            purpose=_purpose(kind),
            without=frozenset(revoked),
        )
    except (LetterError, SignatureError) as e:
        raise UntrustedError(f"signature: {e}") from e
    return envelope[kind], party


def read_unchecked(path: Path, kind: str) -> Any:
    """The values, whoever signed them.

    Raises:
        ConfigError: it is no such file.
    """
    return _opened(path, kind)[kind]


def signer(credentials: Credentials) -> Identity:
    """In whose name these credentials sign.

    Raises:
        ConfigError: nobody's.
    """
    try:
        return holder(credentials.certificate, credentials.authority)
    except LetterError as e:
        raise ConfigError(f"identity: {e}") from e


def _purpose(kind: str) -> str:
    return f"a {kind}, version 1"


def _opened(path: Path, kind: str) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST + 1)
    except OSError as e:
        raise ConfigError(f"cannot read: {e.strerror}") from e
    if len(content) > MOST:
        raise ConfigError(f"at most {MOST:,} bytes wanted")
    try:
        found = json.loads(
            content.decode(),
            object_pairs_hook=_each_once,
            parse_constant=_no_number,
            parse_float=_finite,
        )
    except ConfigError:
        raise
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"JSON of a {kind} wanted: {e}") from e
    wanted = {kind, "certificate", "signature"}
    if not isinstance(found, dict) or found.keys() != wanted:
        raise ConfigError(f"a file with {kind}, certificate and signature, and no more, wanted")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [k for k, _ in pairs]
        twice = next(k for k in names if names.count(k) > 1)
        raise ConfigError(f"each key once wanted: {twice[:100]!r} is there again")
    return found


def _no_number(word: str) -> NoReturn:
    raise ConfigError(f"finite numbers wanted: got {word[:40]}")


def _finite(word: str) -> float:
    found = float(word)
    if not isfinite(found):
        _no_number(word)
    return found
